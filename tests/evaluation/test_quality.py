"""Tests of the measures: values known in closed form, what changes them, and an independent Wasserstein distance."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import wasserstein_distance
from torch import Tensor

from src.config.schema import Backbone, RunConfig
from src.encoders.registry import encoder_spec
from src.evaluation import quality
from src.evaluation.ssim import gradient_magnitude, gradient_ssim, luma
from src.ops import kernels
from tests.support.examples import example_record


def blobs(height: int, width: int, seed: int = 1) -> Tensor:
    """Return a picture of soft coloured blobs, 8 px wide, (1, 3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, math.ceil(height / 8), math.ceil(width / 8), generator=generator)
    return F.interpolate(small, scale_factor=8, mode="bicubic").clamp(0, 1)[..., :height, :width]


@pytest.fixture
def picture() -> Tensor:
    """A small picture, (1, 3, 64, 72)."""
    return blobs(64, 72)


def test_gradient_magnitude_of_a_step_is_one() -> None:
    step = torch.zeros(1, 3, 6, 8)
    step[..., 4:] = 1
    assert gradient_magnitude(step)[0, 0, 3].tolist() == pytest.approx([0, 0, 0, 1, 1, 0, 0, 0], abs=1e-6)


def test_gradient_ssim_falls_with_displaced_edges_but_not_with_lost_colour(picture: Tensor) -> None:
    grey = luma(picture).expand(-1, 3, -1, -1)
    assert gradient_ssim(picture, picture) == pytest.approx(1, abs=1e-6)
    assert gradient_ssim(grey, picture) == pytest.approx(1, abs=1e-5)
    assert gradient_ssim(picture.flip(-1), picture) < 0.9


def test_the_distances_of_a_picture_to_itself_are_zero(picture: Tensor) -> None:
    assert quality.patch_distance(picture, picture) == 0
    assert quality.gram_distance(picture, picture) == 0


@pytest.mark.parametrize("distance", [quality.patch_distance, quality.gram_distance])
def test_distances_ignore_where_textures_are_and_notice_noise_and_pale_colours(distance, picture: Tensor) -> None:
    noise = torch.rand(picture.shape, generator=torch.Generator().manual_seed(2))
    shifted, other, paler = (distance(each, picture) for each in (picture.roll(16, -1), noise, 0.5 * picture))
    assert shifted < 0.3 * other
    assert shifted < 0.5 * paler


def test_pyramids_of_different_depth_are_compared_level_by_level() -> None:
    """A picture of one texture is close to a crop of it, whichever pyramid is the deeper one."""
    large = blobs(160, 160)
    crop = large[..., :120, :120]  # its shorter side is halved twice, that of the whole three times
    assert quality.pyramid_depth(large) == quality.pyramid_depth(crop) + 1
    same_depth = quality.patch_distance(large[..., :130, :130], large)
    assert quality.patch_distance(crop, large) < 1.5 * same_depth
    assert quality.patch_distance(large, crop) < 1.5 * same_depth


@pytest.mark.parametrize("side", [20, 40, 90, 200])
def test_flat_pictures_of_one_colour_have_no_distance_at_any_size(side: int) -> None:
    colour = torch.tensor([0.25, 0.5, 0.75]).view(1, 3, 1, 1)
    flat, style = colour.expand(1, 3, side, side), colour.expand(1, 3, 96, 128)
    assert quality.patch_distance(flat, style) == pytest.approx(0, abs=1e-3)
    assert quality.patch_distance(flat + 1e-4, style) > 0.1  # in units of the smallest standard deviation, 1e-4


def test_the_pyramid_adds_up_to_the_picture(picture: Tensor) -> None:
    assert quality.pyramid_depth(picture) == 2
    levels = quality.laplacian_pyramid(picture, 2)
    assert [tuple(each.shape[-2:]) for each in levels] == [(64, 72), (32, 36), (16, 18)]
    image = levels[-1]
    for band in reversed(levels[:-1]):
        image = band + F.interpolate(image, band.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(image, picture)


def test_sliced_wasserstein_equals_scipy_direction_by_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(200, 12, generator=generator), 2 * torch.randn(200, 12, generator=generator) + 1
    ours = quality._sliced_wasserstein(first, second, torch.Generator().manual_seed(5))
    directions = torch.randn(12, quality.DIRECTIONS, generator=torch.Generator().manual_seed(5))
    directions = directions / directions.norm(dim=0)
    theirs = [wasserstein_distance((first @ each).numpy(), (second @ each).numpy()) for each in directions.unbind(1)]
    assert ours == pytest.approx(np.mean(theirs), rel=1e-5)


def test_one_judge_measures_runs_of_every_network_but_itself(picture: Tensor) -> None:
    found = []
    for backbone in (Backbone(), Backbone(name="vgg19"), Backbone(name="vgg16", weights="random", seed=1)):
        record = example_record()
        record.ssim = 0.5
        values = quality.judge(record, RunConfig(backbone=backbone), picture.flip(-1), picture, 0.5 * picture)
        assert record.judge == record.summary()["judge"] == "vgg16, random weights, seed 0"
        assert values == {key: getattr(record, key) for key in values}
        found.append(record.gram_distance)
    assert found[0] is not None and found == [found[0]] * 3

    record = example_record()
    record.ssim = 0.5
    itself = RunConfig(backbone=Backbone(name="vgg16", weights="random"))
    values = quality.judge(record, itself, picture, picture, picture)
    assert record.gram_distance is None and record.judge is None and "gram_distance" not in values
    assert record.score == values["score"] == 0.5


def test_random_vgg16_and_vgg19_are_the_same_network_at_the_taps_of_the_judge(picture: Tensor) -> None:
    found = []
    for name in ("vgg16", "vgg19"):
        backbone = Backbone(name=name, weights="random")
        network, _ = encoder_spec(name).build(backbone, list(quality.JUDGE_TAPS), None)
        found.append(network.features(picture, quality.JUDGE_TAPS))
        assert quality.is_judge(backbone) and not quality.is_judge(Backbone(name=name))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_a_style_is_measured_once_for_many_pictures(picture: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    statistics = quality._statistics
    monkeypatch.setattr(quality, "_style_cache", {})
    monkeypatch.setattr(quality, "_statistics", lambda image: measured.append(image) or statistics(image))
    before = quality.gram_distance(picture.flip(-1), picture)
    assert quality.gram_distance(picture.flip(-1), picture.clone()) == before
    assert len(measured) == 3
    assert quality.gram_distance(picture.flip(-1), 0.5 * picture) != before
    assert len(measured) == 5


def test_the_judge_of_a_run_does_not_depend_on_the_kernel_switch_of_earlier_ones() -> None:
    if not kernels.available():
        pytest.skip("the kernels cannot be compiled here")
    with kernels.use(False):
        without = quality._judge_network(kernels.enabled())
    assert not without.winograd and quality._judge_network(kernels.enabled()).winograd
    image, style = torch.rand(2, 1, 3, 48, 48, generator=torch.Generator().manual_seed(0)).unbind()
    first = quality.gram_distance(image, style)
    with kernels.use(False):
        quality.gram_distance(image, style)
    assert quality.gram_distance(image, style) == first
