"""The start in patches of the style: what it does to pictures."""

import pytest
import torch

from src.ops.kernels import build
from src.ops.patchwork import SEARCHED, _contrast, _rounds, levels, match_colors, patchwork
from tests.support.pictures import smooth_image


def _patchwork(
    content: torch.Tensor, style: torch.Tensor, hold: float, edges: float = 0, blend: float = 0
) -> torch.Tensor:
    return patchwork(content, style, hold, edges, blend, torch.Generator().manual_seed(0))


def test_colours_get_the_other_picture_s_mean_and_covariance() -> None:
    own, other = smooth_image(0, 40, 50) * 0.3 + 0.3, smooth_image(1, 30, 20) * 0.2 + 0.4
    matched = match_colors(own, other)
    assert matched.shape == own.shape
    torch.testing.assert_close(matched[0].mean((1, 2)), other[0].mean((1, 2)), atol=1e-3, rtol=0)
    torch.testing.assert_close(matched[0].flatten(1).cov(), other[0].flatten(1).cov(), atol=1e-3, rtol=0)
    torch.testing.assert_close(match_colors(own, own), own, atol=1e-3, rtol=0)


def test_a_muted_picture_stays_muted_beside_itself_and_grey_grain_is_not_blown_up() -> None:
    grey = smooth_image(0, 40, 50).mean(1, keepdim=True) * 0.6 + 0.2
    muted = grey + 0.05 * (smooth_image(1, 40, 50) - 0.5)
    torch.testing.assert_close(match_colors(muted, muted), muted, atol=0.02, rtol=0)
    grain = grey + (torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(2)) - 0.5) / 127
    matched = match_colors(grain, smooth_image(3, 30, 20))[0]
    tint = matched - matched.mean(0)  # what is left once a tint of the whole is taken away is grain
    assert (tint - tint.mean((1, 2), keepdim=True)).std(dim=0).mean() < 0.15


@pytest.mark.parametrize("ground", [0.5, 0.7231, 0.8, 0.95, 1.0])
def test_blank_ground_is_not_held(ground: float) -> None:
    scene = torch.full((1, 3, 90, 90), ground)
    scene[..., 40:46, 40:46] = 0.2
    contrast = _contrast(scene)
    assert contrast[..., 42, 39:47].max() == 1
    assert contrast[..., :30, :].max() < 0.05


def test_flat_content_gets_what_is_rare_in_the_style(monkeypatch: pytest.MonkeyPatch) -> None:
    style = torch.full((1, 3, 96, 96), 0.5)
    style[:, :, 40:56, 40:56] = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)
    grey = torch.full((1, 3, 96, 96), 0.5)
    red = _patchwork(grey, style, hold=1.0)[:, 0] > 0.75
    assert 0.01 < red.float().mean() < 0.5, "the square covers 0.028 of the style"
    monkeypatch.setattr("src.ops.exemplar.RELUCTANCE", 1e6)  # plain distances
    assert not (_patchwork(grey, style, hold=1.0)[:, 0] > 0.6).any()


def test_edges_of_the_content_are_held() -> None:
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


def test_what_no_patch_can_draw_is_laid_over_them() -> None:
    content = torch.full((1, 3, 96, 96), 0.5)
    content[..., 47:49] = 0.0
    style = torch.full((1, 3, 96, 96), 0.5)
    style[:, :, :48] = 0.7
    without, half, whole = (_patchwork(content, style, 0.15, 4.0, blend) for blend in (0.0, 1.0, 1e3))
    assert whole[..., 47:49].mean() < without[..., 47:49].mean() - 0.1
    torch.testing.assert_close(half[..., 47:49], (without + whole)[..., 47:49] / 2, atol=5e-3, rtol=0)
    torch.testing.assert_close(whole[..., :24], without[..., :24], atol=0.02, rtol=0)


def test_what_stands_out_at_a_coarse_level_is_held_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    content, style = smooth_image(0, 96, 80), smooth_image(1, 90, 96)

    def laid(high: int, **weight: float) -> torch.Tensor:
        """Lay a patchwork with high contrast at so many levels, from the coarsest on."""
        levels_seen = iter(range(9))
        monkeypatch.setattr(
            "src.ops.patchwork._contrast", lambda scene: torch.full_like(scene[:, :1], next(levels_seen) < high)
        )
        return _patchwork(content, style, 0.1, **weight)

    for weight in ({"edges": 5.0}, {"blend": 5.0}):
        torch.testing.assert_close(laid(1, **weight), laid(9, **weight), atol=1e-4, rtol=0)
        assert not torch.allclose(laid(1, **weight), laid(0, **weight), atol=0.05)


def test_the_content_is_held_in_the_style_s_colours() -> None:
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
def test_any_size_and_shape(content: tuple[int, int], style: tuple[int, int]) -> None:
    laid = _patchwork(smooth_image(0, *content), smooth_image(1, *style), 0.15, 1.0)
    assert laid.shape == (1, 3, *content)
    assert laid.min() >= 0 and laid.max() <= 1 and laid.isfinite().all()


def test_one_colour_is_no_obstacle() -> None:
    grey, black = torch.full((1, 3, 48, 48), 0.5), torch.zeros(1, 3, 48, 48)
    torch.testing.assert_close(_patchwork(grey, black, 0.15, 1.0), black, atol=1e-3, rtol=0)
    assert _patchwork(black, smooth_image(0, 48, 48), 0.15, 1.0).isfinite().all()


def test_levels_grow_to_the_image_but_search_no_more_than_a_search_can_bear() -> None:
    assert levels(356) == ([44, 63, 89, 126, 178], [356])
    assert levels(1024) == ([45, 64, 91, 128, 181], [256, 512, 1024])
    assert levels(4000)[0][-1] <= SEARCHED
    assert levels(64) == ([32], [64])
    assert levels(384)[0] == [48, 68, 96, 136, 192]
    for longest, rounds in ((356, [6, 6, 6, 4, 2]), (384, [6, 6, 6, 4, 2]), (272, [6, 6, 6, 4]), (64, [6])):
        assert [_rounds(size) for size in levels(longest)[0]] == rounds


@pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")
def test_any_number_of_threads_makes_the_same() -> None:
    """A start that one thread made ahead is the one that a batch, or a run that goes on, makes by all."""
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made.append(_patchwork(smooth_image(0, 150, 210), smooth_image(1, 160, 140), 1.0, 0.5, 0.5))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])
