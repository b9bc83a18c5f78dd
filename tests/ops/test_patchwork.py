"""The patchwork start: which content it keeps, which patches it uses, and that threads do not change it."""

import pytest
import torch

from src.ops.kernels import build
from src.ops.patchwork import SEARCH_EDGE, _contrast, _iterations, patchwork, pyramid_levels
from tests.support.pictures import smooth_image
from tests.support.threads import with_threads


def _patchwork(
    content: torch.Tensor, style: torch.Tensor, hold: float, edges: float = 0, blend: float = 0
) -> torch.Tensor:
    return patchwork(content, style, hold, edges, blend, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ground", [0.5, 0.7231, 0.8, 0.95, 1.0])
def test_blank_areas_have_no_contrast(ground: float) -> None:
    scene = torch.full((1, 3, 90, 90), ground)
    scene[..., 40:46, 40:46] = 0.2
    contrast = _contrast(scene)
    assert contrast[..., 42, 39:47].max() == 1
    assert contrast[..., :30, :].max() < 0.05


def test_flat_content_uses_rare_patches_of_the_style(monkeypatch: pytest.MonkeyPatch) -> None:
    style = torch.full((1, 3, 96, 96), 0.5)
    style[:, :, 40:56, 40:56] = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)
    grey = torch.full((1, 3, 96, 96), 0.5)
    red = _patchwork(grey, style, hold=1.0)[:, 0] > 0.75
    assert 0.01 < red.float().mean() < 0.5, "the square covers 0.028 of the style"
    monkeypatch.setattr("src.ops.exemplar.DIVERSITY_OFFSET", 1e6)  # distances are not scaled
    assert not (_patchwork(grey, style, hold=1.0)[:, 0] > 0.6).any()


def test_edges_of_the_content_are_kept() -> None:
    content = torch.zeros(1, 3, 96, 96)
    content[..., 48:] = 1
    style = smooth_image(3, 96, 96)

    edge, flat = slice(42, 54), slice(6, 24)

    def correlation(edges: float) -> float:
        laid = _patchwork(content, style, 0.15, edges)[..., edge].mean(1)
        return torch.corrcoef(torch.stack([laid.flatten(), content[:, 0, :, edge].flatten()]))[0, 1].item()

    def likeness(edges: float, columns: slice) -> float:
        laid = _patchwork(content, style, 0.15, edges)[..., columns].mean(1)
        return -(laid - content[:, 0, :, columns]).abs().mean().item()

    assert correlation(3.0) > correlation(0.0) + 0.05
    assert likeness(3.0, edge) > likeness(0.0, edge) + 0.01
    assert likeness(3.0, flat) < likeness(3.0, edge) and likeness(3.0, flat) < likeness(0.0, flat) + 0.01


def test_blend_adds_a_line_that_no_patch_has() -> None:
    content = torch.full((1, 3, 96, 96), 0.5)
    content[..., 47:49] = 0.0
    style = torch.full((1, 3, 96, 96), 0.5)
    style[:, :, :48] = 0.7
    without, half, whole = (_patchwork(content, style, 0.15, 4.0, blend) for blend in (0.0, 1.0, 1e3))
    assert whole[..., 47:49].mean() < without[..., 47:49].mean() - 0.1
    torch.testing.assert_close(half[..., 47:49], (without + whole)[..., 47:49] / 2, atol=5e-3, rtol=0)
    torch.testing.assert_close(whole[..., :24], without[..., :24], atol=0.02, rtol=0)


def test_contrast_of_a_coarse_level_counts_at_all_finer_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    content, style = smooth_image(0, 96, 80), smooth_image(1, 90, 96)

    def laid(high: int, **weight: float) -> torch.Tensor:
        """Return the patchwork with contrast 1 at the `high` coarsest levels, and 0 at the others."""
        levels_seen = iter(range(9))
        monkeypatch.setattr(
            "src.ops.patchwork._contrast", lambda scene: torch.full_like(scene[:, :1], next(levels_seen) < high)
        )
        return _patchwork(content, style, 0.1, **weight)

    for weight in ({"edges": 5.0}, {"blend": 5.0}):
        torch.testing.assert_close(laid(1, **weight), laid(9, **weight), atol=1e-4, rtol=0)
        assert not torch.allclose(laid(1, **weight), laid(0, **weight), atol=0.05)


def test_content_is_kept_in_the_colours_of_the_style() -> None:
    content = torch.full((1, 3, 64, 64), 0.45)
    content[..., 32:] = 0.55
    style = torch.zeros(1, 3, 64, 64)
    style[:, :, :32] = 1
    laid = _patchwork(content, style, 1.0, 1.0)
    assert laid[..., :24].mean() < 0.1 and laid[..., 40:].mean() > 0.9
    over = _patchwork(content, style, 1.0, 1.0, blend=1e3)[..., 30:34]
    assert over.min() < 0.1 and over.max() > 0.9


@pytest.mark.parametrize(
    ("content", "style"), [((96, 64), (50, 96)), ((8, 8), (8, 13)), ((301, 200), (64, 301)), ((8, 30), (30, 8))]
)
def test_result_has_the_size_of_the_content_and_is_in_range(content: tuple[int, int], style: tuple[int, int]) -> None:
    laid = _patchwork(smooth_image(0, *content), smooth_image(1, *style), 0.15, 1.0)
    assert laid.shape == (1, 3, *content)
    assert laid.min() >= 0 and laid.max() <= 1 and laid.isfinite().all()


def test_images_of_one_colour_give_finite_results() -> None:
    grey, black = torch.full((1, 3, 48, 48), 0.5), torch.zeros(1, 3, 48, 48)
    torch.testing.assert_close(_patchwork(grey, black, 0.15, 1.0), black, atol=1e-3, rtol=0)
    assert _patchwork(black, smooth_image(0, 48, 48), 0.15, 1.0).isfinite().all()


def test_levels_grow_to_the_size_of_the_image_and_the_search_stops_at_its_limit() -> None:
    assert pyramid_levels(356) == ([44, 63, 89, 126, 178], [356])
    assert pyramid_levels(1024) == ([45, 64, 91, 128, 181], [256, 512, 1024])
    assert pyramid_levels(4000)[0][-1] <= SEARCH_EDGE
    assert pyramid_levels(64) == ([32], [64])
    assert pyramid_levels(384)[0] == [48, 68, 96, 136, 192]
    for longest, iterations in ((356, [6, 6, 6, 4, 2]), (384, [6, 6, 6, 4, 2]), (272, [6, 6, 6, 4]), (64, [6])):
        assert [_iterations(edge) for edge in pyramid_levels(longest)[0]] == iterations


@pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")
def test_result_does_not_depend_on_the_number_of_threads() -> None:
    one, two, three = with_threads(
        lambda: _patchwork(smooth_image(0, 150, 210), smooth_image(1, 160, 140), 1.0, 0.5, 0.5)
    )
    assert torch.equal(one, two) and torch.equal(one, three)
