"""Masks: each region of the image takes the same region of the styles; what does not count has no gradient."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from src.assets.masks.outline import person
from src.common.errors import InputError
from src.config.identity import identity
from src.config.schema import RunConfig
from src.config.validation import validate
from src.data.masks import Mask, matched, read_mask
from src.data.sources import check_local_files
from src.encoders import checkpointing
from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.encoders.registry import check_backbone, encoder_spec
from src.ops.central_moments import power_sums
from src.ops.columns import StyleColumns
from src.ops.gram import FeatureStatistics, moment_sums, squared_distance
from src.ops.guides import guide, joined, shares_of_positions
from src.ops.losses import total_variation
from src.ops.palette import Palette, block_guides
from src.ops.patches import StylePatches
from src.ops.sorting import quantiles, squared_quantile_distance
from src.report.options import result_options, written
from src.report.reproduction import overrides
from src.run import resume, run, run_batch
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.training.grouping import MASKS, grouped
from src.transfer.objective import Objective, build_objective, used_taps
from src.transfer.terms.base import Inputs, Regions, StyleImage
from src.transfer.terms.registry import STYLE_TERMS
from tests.support import ROOT
from tests.support.pictures import smooth_image, write_halved_masks
from tests.support.prepare import prepare
from tests.support.runs import run_until
from tests.transfer.test_style_terms import PowerTerm

KINDS = ("simple", "inside", "all")
EVERY_TERM = ("loss=patches", f"loss.terms=[{','.join(STYLE_TERMS)}]", "layers=b", "precision=64", "loss.palette=0.3")
EVERY_TERM += ("loss.self_similarity=2",)


def _halves(height: int, width: int) -> Tensor:
    mask = torch.zeros(1, 2, height, width, dtype=torch.float64)
    mask[:, 0, :, : width // 2], mask[:, 1, :, width // 2 :] = 1, 1
    return mask


def _inputs(regions: Tensor, style_regions: Tensor, kind: str = "simple") -> Inputs:
    content = smooth_image(1, *regions.shape[2:]).double()
    style = smooth_image(2, *style_regions.shape[2:]).double()
    labels = ("left", "right", "third")[: regions.shape[1]]
    return Inputs(content, (StyleImage(style, regions=style_regions),), regions=Regions(regions, labels, kind))


def _encoder(config: RunConfig) -> Encoder:
    taps = used_taps(config)
    return encoder_spec("embedded").build(config.backbone, taps, None)[0].double()


def _gradient(objective: Objective, image: Tensor) -> tuple[dict[str, float], Tensor]:
    image = image.clone().requires_grad_()
    losses = objective(image)
    losses.total.sum().backward()
    assert image.grad is not None
    return losses.metrics()[0], image.grad


def test_guides_in_closed_form() -> None:
    mask = torch.zeros(1, 1, 8, 9)
    mask[..., 3:] = 1
    size = (4, 4)
    assert shares_of_positions(mask, size, 2, 1, "simple")[0, 0, 0].tolist() == [0, 0.5, 1, 1]
    assert shares_of_positions(mask, size, 2, 1, "inside")[0, 0, 0].tolist() == [0, 0, 1, 1]
    assert shares_of_positions(mask, size, 2, 1, "all")[0, 0, 0].tolist() == [0, 1, 1, 1]
    assert shares_of_positions(mask, size, 2, 2, "all")[0, 0, 0].tolist() == [1, 1, 1, 1]
    assert shares_of_positions(mask, (4, 5), 2, 1, "simple")[0, 0, 0].tolist() == [0, 0.5, 1, 1, 1], "rounded up"
    assert shares_of_positions(mask, (4, 5), 2, 1, "inside")[0, 0, 0].tolist() == [0, 0, 1, 1, 1]
    assert shares_of_positions(mask.flip(3), (4, 5), 2, 1, "all")[0, 0, 0].tolist() == [1, 1, 1, 1, 0]
    assert shares_of_positions(mask, size, 2, None, "inside").sum() == 0, "an unknown reach is the whole image"
    padded = shares_of_positions(mask, (4, 3), 2, 1, "simple")  # of a network whose layers have other sizes
    assert padded[0, 0, 0].tolist() == [0, 1, 1]
    weights = guide(torch.tensor([[[[0.0, 0.5, 1, 1]]]]))
    assert weights is not None and weights.flatten().tolist() == pytest.approx([0, 0.8, 1.6, 1.6])
    assert guide(torch.tensor([[[[0.0, 0.5, 0.4, 0]]]])) is None, "less than one position"
    assert joined([{}, {"a": weights}])["a"].flatten().tolist() == [1, 1, 1, 1, *weights.flatten().tolist()]


@pytest.mark.parametrize("pool", ["blur", "max"])
def test_no_position_depends_on_pixels_beyond_its_reach(pool: str, small: Callable) -> None:
    config = small("backbone.weights=random", f"backbone.pool={pool}", "layers.style=[relu1_1,conv2_2,relu3_2]")
    encoder, image = _encoder(config), smooth_image(3, 80, 80).double().requires_grad_()
    for tap in config.layers.style:
        info, place = encoder.taps[tap], 40 // encoder.taps[tap].stride
        (gradient,) = torch.autograd.grad(encoder.features(image, [tap])[tap][:, :, place, place].sum(), image)
        seen = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
        first, last = place * info.stride, (place + 1) * info.stride - 1
        assert info.reach is not None and first - info.reach <= seen.min() and seen.max() <= last + info.reach
        if pool == "blur":
            assert (seen.min(), seen.max()) == (first - info.reach, last + info.reach)


# Each weighted sum over positions is that of positions taken as often.

WEIGHT = torch.tensor([0.0, 1, 2, 1] * 12, dtype=torch.float64).view(1, 1, 6, 8)


def _often(values: Tensor) -> np.ndarray:
    """Return the positions of (1, C, H, W) as often as WEIGHT says, (C, positions)."""
    return np.repeat(values[0].flatten(1).numpy(), WEIGHT.flatten().long().numpy(), axis=1)


def test_weighted_moments_are_those_of_positions_taken_as_often() -> None:
    features = smooth_image(0, 6, 8).double().requires_grad_()
    gram, total = moment_sums(features, WEIGHT)
    often = _often(features.detach())
    np.testing.assert_allclose(gram[0].detach(), often @ often.T, rtol=1e-12)
    np.testing.assert_allclose(total[0].detach(), often.sum(1), rtol=1e-12)
    found = FeatureStatistics.from_sums(gram, total, WEIGHT.numel())
    np.testing.assert_allclose(found.covariance[0].detach(), np.cov(often, bias=True), rtol=1e-9, atol=1e-15)
    assert torch.autograd.gradcheck(lambda each: moment_sums(each, WEIGHT), features)
    centre = torch.full((1, 3), 0.6, dtype=torch.float64)
    powers = [((1 / (1 + np.exp(-often)) - 0.6) ** order).sum(1) for order in range(1, 6)]
    np.testing.assert_allclose(power_sums(features, centre, WEIGHT)[0].detach(), powers, rtol=1e-10)


def test_weighted_distances_are_those_of_positions_taken_as_often() -> None:
    features, target = smooth_image(0, 6, 8).double().requires_grad_(), smooth_image(1, 6, 8).double()
    expected = np.square(_often(features.detach()) - _often(target)).sum()
    assert squared_distance(features, target, WEIGHT).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda each: squared_distance(each, target, WEIGHT), features)
    columns = torch.zeros(1, 1, 6, 8, dtype=torch.float64)
    columns[..., 1:3] = 4
    alone = total_variation(features[..., 1:3])
    assert total_variation(features, columns).item() == pytest.approx(
        # 2 of 8 columns, one of 7 pairs of neighbours
        4 * (2 / 8 * _down(features[..., 1:3]) + 1 / 7 * (alone.item() - _down(features[..., 1:3])))
    )


def _down(image: Tensor) -> float:
    return image.diff(dim=2).square().mean().item()


def test_weighted_quantiles_are_those_of_values_taken_as_often() -> None:
    values, weight = smooth_image(0, 6, 8).double().flatten(2), WEIGHT.flatten(2)
    style = smooth_image(1, 40, 60).double().flatten(2)
    goal = quantiles([style], [1.0], 48)
    found = squared_quantile_distance(values, goal, weight).item()
    often = np.sort(_often(values.view(1, 3, 6, 8)), axis=1)
    assert found == pytest.approx(np.square(often - goal[0].numpy()).mean(), rel=0.02), "between neighbouring quantiles"
    ones = torch.ones_like(weight)
    plain = squared_quantile_distance(values, goal)
    torch.testing.assert_close(squared_quantile_distance(values, goal, ones), plain, rtol=1e-12, atol=0)
    masses = [(style[:, :1] > 0.5).double()]
    (kept,) = [each[..., masses[0].flatten() > 0] for each in (style,)]
    torch.testing.assert_close(
        quantiles([style], [1.0], 48, masses), quantiles([kept], [1.0], 48), rtol=1e-6, atol=1e-9
    )
    gradient_free = values.clone().requires_grad_()
    squared_quantile_distance(gradient_free, goal, weight).sum().backward()
    assert gradient_free.grad is not None and (gradient_free.grad[..., weight.flatten() == 0] == 0).all()


def test_only_columns_and_patches_of_the_region_are_searched() -> None:
    features = smooth_image(0, 12, 20).double()
    weight = torch.zeros(1, 1, 12, 20, dtype=torch.float64)
    weight[..., :10] = 2
    half = features[..., :10]
    found, alone = StyleColumns(features, features.dtype, weight), StyleColumns(half, features.dtype)
    torch.testing.assert_close(found.directions.sort(0).values, alone.directions.sort(0).values)
    torch.testing.assert_close(found.shortest, alone.shortest)
    patches, own = StylePatches(features, features.dtype, weight), StylePatches(half, features.dtype)
    assert len(own.patches) < len(patches.patches) <= len(own.patches) + 10, "and those that are half in it"
    torch.testing.assert_close(patches.energy, own.energy)
    assert patches.patches[..., 0].max() <= half.max()


# Objectives with regions.


def test_inside_guides_give_no_gradient_from_outside_the_region(small: Callable) -> None:
    config = small(*EVERY_TERM, "loss.alpha=0", "loss.tv=1")
    encoder, image = _encoder(config), smooth_image(5, 32, 48).double()
    for kind in ("inside", "all"):
        inputs = _inputs(_halves(32, 48), _halves(32, 40), kind)
        assert inputs.regions is not None
        inputs = replace(inputs, mask=inputs.regions.shares[:, :1])  # for the TV term
        left = replace(inputs.regions, shares=inputs.regions.shares[:, :1])
        _, gradient = _gradient(build_objective(config, encoder, replace(inputs, regions=left)), image)
        assert (gradient[..., 24:] == 0).all() == (kind == "inside")
        assert gradient[..., :24].abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_regions_that_are_everywhere_equal_the_run_without_masks(kind: str, small: Callable) -> None:
    config = small(*EVERY_TERM)
    encoder, image = _encoder(config), smooth_image(5, 40, 48).double()
    ones = torch.ones(1, 2, 40, 48, dtype=torch.float64)
    masked = _inputs(ones, torch.ones(1, 2, 32, 40, dtype=torch.float64), kind)
    found, gradient = _gradient(build_objective(config, encoder, masked), image)
    plain, expected = _gradient(build_objective(config, encoder, Inputs.of(masked.content, masked.style)), image)
    assert found == pytest.approx(plain, rel=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("term", ["moments", "gram", "mean_std", "wasserstein", "cmd", "nearest", "sliced_wasserstein"])
def test_each_region_has_the_loss_of_its_own_picture(term: str, small: Callable) -> None:
    """At conv1_1, and away from the border of the regions, a region is a picture of its own."""
    config = small("loss=moments", "loss.palette=0", "loss.alpha=0", f"loss.terms=[{term}]", "layers.style=[conv1_1]")
    encoder = _encoder(config)
    convolution = encoder.convolutions["conv1_1"]  # type: ignore[attr-defined]
    convolution.weight[:, :, [0, 2]] = 0  # of 3 x 3 only the middle: no neighbours
    convolution.weight[..., [0, 2]] = 0
    inputs = _inputs(_halves(16, 24), _halves(16, 20))
    image = smooth_image(5, 16, 24).double()
    found = build_objective(config, encoder, inputs)(image).terms[term].total.item()
    halves = (slice(12), slice(10)), (slice(12, 24), slice(10, 20))
    alone = [
        build_objective(config, encoder, Inputs.of(inputs.content[..., at], inputs.style[..., of]))(image[..., at])
        for at, of in halves
    ]
    expected = sum(each.terms[term].total.item() for each in alone) / 2
    assert found == pytest.approx(expected, rel=2e-2 if term == "sliced_wasserstein" else 1e-9)


def test_the_palette_compares_the_colours_of_the_region() -> None:
    image, style = smooth_image(5, 64, 96), smooth_image(6, 64, 80)
    mine, theirs = (block_guides(_halves(*size)[:, :1].float(), "simple") for size in ((64, 96), (64, 80)))
    found = Palette(style, (64, 96), (1.0,), [theirs]).loss(image, guides=mine)
    alone = Palette(style[..., :40], (64, 48)).loss(image[..., :48])
    assert found.item() == pytest.approx(alone.item(), rel=0.05), "quantiles are resampled"


def test_bands_equal_the_whole_with_masks(small: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(*EVERY_TERM)
    encoder, image = _encoder(config), smooth_image(5, 42, 36).double()
    inputs = _inputs(_halves(42, 36), _halves(30, 32))
    whole, gradient = _gradient(build_objective(config, encoder, inputs), image)
    monkeypatch.setattr(checkpointing, "BAND_BYTES", 1)
    banded, found = _gradient(build_objective(config, encoder, inputs, Checkpointing(2, banded=True)), image)
    assert banded == pytest.approx(whole, rel=1e-9)
    torch.testing.assert_close(found, gradient, rtol=1e-7, atol=1e-12)


def test_a_region_without_positions_at_a_deep_layer_is_left_out_there(
    small: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    config = small("loss=moments", "layers.style=[relu1_1,relu3_1]")
    mask = torch.zeros(1, 2, 64, 64, dtype=torch.float64)
    mask[:, 0], mask[:, 0, :10, :10], mask[:, 1, :10, :10] = 1, 0, 1
    with caplog.at_level(logging.INFO):
        objective = build_objective(config, _encoder(config), _inputs(mask, mask, "inside"))
    (line,) = [each for each in caplog.messages if "left out" in each]
    assert line == "64x64 px, style: regions are left out where they have less than one position: right at relu3_1"
    metrics, gradient = _gradient(objective, smooth_image(5, 64, 64).double())
    assert np.isfinite(list(metrics.values())).all() and torch.isfinite(gradient).all()
    with pytest.raises(InputError, match=r"every region of content\.mask or style\.mask is too small") as caught:
        build_objective(config, _encoder(config), _inputs(mask[:, 1:] * 0, mask[:, 1:], "inside"))
    assert "\n" not in str(caught.value) and "use guides=simple, not guides=inside, a larger" in str(caught.value)
    with pytest.raises(InputError, match="at this size; use a larger edge"):
        build_objective(config, _encoder(config), _inputs(mask[:, 1:] * 0, mask[:, 1:], "simple"))


def test_each_region_takes_the_styles_that_have_it(small: Callable) -> None:
    config = small("loss=moments", "loss.alpha=0", "loss.palette=0.3", "precision=64")
    encoder, image = _encoder(config), smooth_image(5, 64, 64).double()
    halves, one, none = _halves(64, 64), torch.ones(1, 1, 64, 64).double(), torch.zeros(1, 1, 64, 64).double()
    first, second = smooth_image(1, 64, 64).double(), smooth_image(2, 64, 64).double()
    styles = (
        StyleImage(first, 0.5, regions=torch.cat([one, none], 1)),
        StyleImage(second, 0.5, regions=torch.cat([none, one], 1)),
    )
    both = Inputs(image, styles, regions=Regions(halves, ("0", "255")))
    found = build_objective(config, encoder, both)(image).total.item()
    parts = [
        build_objective(config, encoder, Inputs(image, (StyleImage(style),), mask=halves[:, at : at + 1]))(image)
        for at, style in enumerate((first, second))
    ]
    assert found == pytest.approx(sum(each.total.item() for each in parts) / 2, rel=1e-9)


def test_a_term_without_masks_is_refused_in_one_line(small: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STYLE_TERMS, "power", "tests.transfer.test_style_terms:PowerTerm")
    assert not PowerTerm.masks
    config = small("loss=moments", "loss.terms=[power]")
    with pytest.raises(InputError, match=r"the term power cannot compare regions: leave out content\.mask"):
        build_objective(config, _encoder(config), _inputs(_halves(48, 48), _halves(48, 48)))


# Runs.


def _write(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def given(tmp_path: Path) -> tuple[str, ...]:
    """Options of masks with a left and a right part, of the shapes of astronaut and of brushwork."""
    with Image.open(ROOT / "src/assets/styles/brushwork.jpg") as style:
        width, height = style.size
    for name, size in (("content", (128, 128)), ("style", (height, width))):
        values = np.zeros(size)
        values[:, size[1] // 3 :] = 255
        _write(tmp_path / f"{name}.png", values)
    return ("content=astronaut", *(f"{name}.mask={tmp_path}/{name}.png" for name in ("content", "style")))


def test_a_run_with_masks_is_recorded_reported_and_resumes(
    small: Callable, tmp_path: Path, given: tuple[str, ...]
) -> None:
    terms = "loss.terms=[moments,nearest,sliced_wasserstein]"
    config = small("loss=patches", "schedule=pyramid", "steps=8", "loss.rematch=3", terms, *given)
    whole = run(config, tmp_path / "whole")
    assert set(whole.further_sha256) == {"content.mask", "style.mask"}
    assert records.read(tmp_path / "whole") == whole
    assert result_options(whole)["content.mask"] == str(tmp_path / "content.png")
    assert written("content.mask", str(tmp_path / "content.png")) == "content.png"
    assert f"content.mask={tmp_path / 'content.png'}" in [each.replace('"', "") for each in overrides(whole)]
    assert whole.config["content"]["mask"] == str(tmp_path / "content.png"), "as W&B gets it"
    run_until(5, config, tmp_path / "part")
    assert resume(tmp_path / "part").captures[-1].losses == whole.captures[-1].losses
    assert (tmp_path / "part/image.png").read_bytes() == (tmp_path / "whole/image.png").read_bytes()
    values = np.array(Image.open(tmp_path / "content.png"))
    _write(tmp_path / "content.png", 255 - values)
    with pytest.raises(InputError, match=r"content\.png has changed since this run finished"):
        run(config, tmp_path / "whole")


def test_runs_with_masks_are_runs_of_their_own_and_run_alone(small: Callable, given: tuple[str, ...]) -> None:
    jobs = [small("loss=moments", *given), small("loss=moments"), small("loss=moments", "style=dots")]
    groups = grouped(jobs, 8)
    assert (groups.together, groups.alone, groups.reasons) == ([[1, 2]], [0], {0: MASKS})
    assert identity(jobs[0])["style"]["mask"].startswith("/") and identity(jobs[0]) != identity(small(*given[:1]))
    label = small("blend.styles=[dots]", "blend.masks=[0]", "content.mask=255", "style.mask='#FF0000'")
    assert identity(label)["blend"]["masks"] == ["0"] and identity(label)["style"]["mask"] == "#FF0000"


def test_bfloat16_compares_regions_in_float32(small: Callable, given: tuple[str, ...]) -> None:
    options = ("loss=patches", f"loss.terms=[{','.join(STYLE_TERMS)}]", *given)
    exact, rough = (prepare(small(*options, f"precision={precision}")) for precision in ("32", "bf16"))
    image = exact.inputs.content * 0.9
    (mine,), (theirs,) = (each.objective(image).metrics() for each in (rough, exact))
    assert mine == pytest.approx(theirs, rel=0.05)


@pytest.mark.parametrize(
    "options",
    [
        ("canvas.space=laplacian", "color=luminance"),
        ("canvas.space=pixel", "schedule.carry=true", "schedule.average=0.5"),
        ("optimizer=lbfgs", "init=noise", "depth=16"),
    ],
)
def test_regions_without_a_style_can_be_kept(
    options: tuple[str, ...], small: Callable, tmp_path: Path, given: tuple[str, ...]
) -> None:
    base = ("loss=moments", "schedule=pyramid", "edge=64", *given[:2], *options)
    with pytest.raises(InputError, match=r"no style has the region 0 of content.mask \(0, 255\): style.mask has 255;"):
        prepare(small(*base))
    config = small(*base, "keep_unmasked=true")
    record = run(config, tmp_path / "run")
    assert record.captures[-1].losses["total"] < (record.initial_loss or 0)
    depth = 65535 if config.depth == 16 else 255
    content = (prepare(config).run.originals.content[0] * depth).round().permute(1, 2, 0).numpy()
    result = np.array(_pixels(tmp_path / "run/image.png"))
    assert (result[:, :21] == content[:, :21]).all(), "a third, less the pixel at the border"
    assert (result[:, 22:] != content[:, 22:]).mean() > 0.9


def _pixels(path: Path) -> np.ndarray:
    from src.data.images import read_pixels

    return read_pixels(path).values


def test_transparent_parts_of_a_mask_are_black(tmp_path: Path) -> None:
    """As a program that removes backgrounds writes them: white where the subject is, transparent elsewhere."""
    cut = np.full((40, 60, 4), 255, np.uint8)
    cut[:, :20, 3] = 0
    Image.fromarray(cut).save(tmp_path / "cut.png")
    shares = read_mask("content.mask", tmp_path / "cut.png").shares
    assert set(shares) == {"0", "255"} and np.array_equal(shares["255"], cut[..., 3] == 255)
    labels = Image.fromarray(np.arange(3, dtype=np.uint16).repeat(100).reshape(10, 30))
    labels.save(tmp_path / "labels.png", transparency=1)  # a value that stands for no data
    assert set(read_mask("content.mask", tmp_path / "labels.png").shares) == {"0", "1", "2"}


def test_masks_are_read_as_labels_colours_or_soft_edges(tmp_path: Path) -> None:
    def read(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        return read_mask("content.mask", _write(tmp_path / f"{name}.png", values)).shares

    assert {name: each.sum() for name, each in read("labels", np.arange(3).repeat(100).reshape(10, 30)).items()} == {
        "0": 100, "1": 100, "2": 100
    }  # fmt: skip
    colours = np.zeros((10, 10, 3))
    colours[5:, :, 0], colours[8:] = 255, 255
    assert set(read("colours", colours)) == {"0", "#ff0000", "255"}
    soft = read("soft", np.tile(np.arange(0, 255, 5), (10, 1)))
    assert set(soft) == {"0", "255"}
    np.testing.assert_allclose(soft["0"] + soft["255"], 1)
    np.testing.assert_allclose(soft["255"][0], np.arange(0, 255, 5) / 255, rtol=1e-6)
    few = np.zeros((40, 40))
    few[:, 20:], few[:8, 19] = 255, 128  # an edge with a single grey
    assert read("few", few)["255"][0, 19] == pytest.approx(128 / 255)
    Image.fromarray((few > 200).astype(np.uint16) * 65535).save(tmp_path / "deep.png")
    assert set(read_mask("content.mask", tmp_path / "deep.png").shares) == {"0", "255"}
    with pytest.raises(InputError, match="has 100 colours; a label image has at most 16"):
        read("noise", np.random.default_rng(0).integers(0, 255, (10, 10, 3)))
    shares = Mask({"0": few < 100, "255": few >= 100}).tensor(["255", "7"], (10, 10))
    assert shares.shape == (1, 2, 10, 10) and shares[0, 0, 9].tolist() == [0] * 5 + [1] * 5 and not shares[0, 1].any()
    assert (Mask.whole("7").tensor(["7"], (4, 6)) == 1).all()
    assert matched(Mask({"0": few, "9": few}), {"style.mask": Mask({"9": few})}, keep=True) == ["9"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["guides=outside"], "guides=outside is unknown; one of: simple, inside, all"),
        (["style.mask=no/mask.png"], "style.mask: no such file: .*no/mask.png"),
        (["content.mask=null", "keep_unmasked=true"], "keep_unmasked needs content.mask=FILE"),
        (["blend.styles=[dots]", "blend.masks=[0,255]"], "blend.masks needs a mask for each of blend.styles"),
        (["style.mask=7"], r"style.mask has no region of content.mask: it has 7, not 0, 255"),
        (["blend.styles=[dots]", "blend.masks=['#ff0000']"], r"blend.masks\[0\] has no region of content.mask"),
        (["content=coffee"], r"content\.mask: .* is 128x128 px; a mask has the shape of its image, 600x400"),
    ],
)
def test_what_is_wrong_with_masks_is_said_in_one_line(
    small: Callable, given: tuple[str, ...], more: list[str], message: str
) -> None:
    config = small("loss=moments", *given, *more)
    with pytest.raises(InputError, match=message) as caught:
        validate(config)
        check_local_files(config)
        prepare(config)
    assert "\n" not in str(caught.value)


def test_the_shipped_mask_is_what_its_script_makes() -> None:
    shipped = np.array(Image.open(ROOT / "src/assets/masks/astronaut.png"))
    assert (shipped == person()).mean() > 0.999 and set(np.unique(shipped)) == {0, 255}


# Transparent pixels.


def _transparent(path: Path, shape: tuple[int, int], from_column: int, seed: int = 0) -> str:
    values = np.random.default_rng(seed).integers(0, 256, (*shape, 4), dtype=np.uint8)
    values[:, :, :3] = (smooth_image(seed, *shape)[0].permute(1, 2, 0) * 255).byte().numpy()
    values[..., 3] = np.where(np.arange(shape[1]) < from_column, 255, 0)
    Image.fromarray(values).save(path)
    return f"content.path={path}"


@pytest.mark.parametrize(("self_similarity", "edge", "reach"), [(0, 96, 8), (2, 144, 40)])
def test_transparent_pixels_do_not_count_in_any_term(
    self_similarity: int, edge: int, reach: int, small: Callable, tmp_path: Path
) -> None:
    """Beyond the reach of the deepest layer, 5 px, or 33 px of self-similarity, no term has a gradient there."""
    options = (*EVERY_TERM, "layers.content=relu2_1", "loss.tv=1", f"edge={edge}", "content=file")
    options += (f"loss.self_similarity={self_similarity}",)
    prepared = prepare(small(*options, _transparent(tmp_path / "half.png", (edge, edge), edge // 2)))
    _, gradient = _gradient(prepared.objective, smooth_image(3, edge, edge).double())
    left = edge // 2
    assert (gradient[..., left + reach :] == 0).all() and (gradient[..., :left].abs().sum(1) > 0).all()


def test_pictures_with_and_without_alpha_share_a_batch(small: Callable, tmp_path: Path) -> None:
    files = ("content=file", _transparent(tmp_path / "half.png", (48, 48), 24)), ("content=astronaut",)
    configs = [small(*EVERY_TERM, *each, "layers=b", "logger=csv", "loss.tv=0.5") for each in files]
    together = run_batch([(config, tmp_path / str(number)) for number, config in enumerate(configs)], at_once=2)
    for number, config in enumerate(configs):
        alone, batched = run(config, tmp_path / f"alone{number}"), together[number]
        assert isinstance(batched, RunRecord) and batched.batch == 2
        assert batched.captures[-1].losses == pytest.approx(alone.captures[-1].losses, rel=1e-5)


@pytest.fixture
def halved(tmp_path: Path) -> tuple[str, ...]:
    """Return options with masks of which the left half is black and the right half white."""
    return write_halved_masks(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        ("schedule=simultaneous", "schedule.smallest=64", "edge=128", "layers=b"),
        ("backbone=squeezenet", "backbone.weights=random", "loss=normalized", "layers=c", "edge=64"),
        ("canvas.space=laplacian", "loss.tv=0.1", "loss.tv_form=stencil"),
    ],
)
def test_masks_go_with_several_sizes_other_networks_and_image_models(
    options: tuple[str, ...], halved: tuple[str, ...], small: Callable, tmp_path: Path
) -> None:
    record = run(small("loss=moments", *halved, *options), tmp_path / "run")
    assert record.status == "finished"
    assert record.captures[-1].losses["total"] < record.initial_loss  # type: ignore[operator]


def test_a_limit_of_uses_does_not_go_with_masks(halved: tuple[str, ...], small: Callable) -> None:
    with pytest.raises(InputError, match=r"loss\.capacity cannot be combined with masks"):
        validate(small("loss.terms=[nearest]", "loss.capacity=1", *halved))
    with pytest.raises(InputError, match=r"loss\.capacity limits the term nearest: add loss\.terms=\[nearest\]"):
        validate(small("loss.capacity=1"))


@pytest.mark.parametrize("kind", ["inside", "all"])
def test_guides_of_receptive_fields_need_a_network_that_knows_them(
    kind: str, halved: tuple[str, ...], small: Callable
) -> None:
    network = ("backbone=squeezenet", "backbone.weights=random", "loss=normalized")
    with pytest.raises(InputError, match=rf"guides={kind} needs the receptive fields .* use guides=simple"):
        check_backbone(small(*network, *halved, f"guides={kind}"))
    with pytest.raises(InputError, match=rf"guides={kind} needs content\.mask=FILE"):
        validate(small(f"guides={kind}"))


def test_few_opaque_pixels_are_all_that_counts_at_deep_layers(small: Callable) -> None:
    config = small("loss=moments", "precision=64", "layers=d", "layers.content=relu4_1", "loss.palette=0")
    content, mask = smooth_image(1, 128, 128).double(), torch.zeros(1, 1, 128, 128, dtype=torch.float64)
    mask[..., 2:9, 2:9] = 1
    inputs = Inputs(content, (StyleImage(smooth_image(2, 64, 64).double()),), mask)
    objective = build_objective(config, _encoder(config), inputs)
    _, gradient = _gradient(objective, content * 0.9)
    assert gradient[..., :16, :16].abs().max() > 0
    assert gradient[..., 96:, 96:].abs().max() == 0
