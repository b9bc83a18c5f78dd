"""Image models: what their parameters render, and how images are clamped and averaged."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from src.common.errors import InputError
from src.config.schedule import Stage, Timetable
from src.config.schema import Backbone
from src.config.validation import validate
from src.encoders.base import Encoder
from src.encoders.registry import encoder_spec
from src.ops.ema import Average
from src.training.module import StyleTransferModule
from src.transfer.image_models.base import ImageModel
from src.transfer.image_models.fourier import FourierImage
from src.transfer.image_models.laplacian import ColorLaplacianImage, LaplacianImage
from src.transfer.image_models.registry import IMAGE_MODELS
from tests.support.pictures import smooth_image
from tests.support.prepare import prepare

SPACES = ("laplacian", "pixel", "normalized", "fourier")
# What a model holds beside a parameter `values`: parameters, then constants.
HELD = {
    "laplacian": ([f"image.changes.{level}" for level in range(3)], ["image.start"]),
    "fourier": (["image.spectrum"], []),
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """Return an encoder, whose statistics the normalised space uses."""
    return encoder_spec("vgg19").build(Backbone(name="vgg19", weights="random"), ["relu1_1"], None)[0]


def _model(space: str, start: torch.Tensor, encoder: Encoder, clamp: bool = True) -> ImageModel:
    return IMAGE_MODELS[space].build(start, encoder, clamp, 0.0)


@pytest.mark.parametrize("space", SPACES)
def test_only_the_image_is_learned(space: str, small: Callable) -> None:
    config = small(f"canvas.space={space}")
    prepared = prepare(config)
    table, stage = Timetable(1, (1,), 1, 1), Stage(48, 0, 1)
    module = StyleTransferModule(prepared.image, [prepared.run.pair], config.optimizer, table, stage)
    learnable = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    expected, constants = HELD.get(space, (["image.values"], []))
    assert learnable == expected == [name for name, _ in module.named_parameters()]
    assert set(module.state_dict()) == {*expected, *constants}
    assert not any(parameter.requires_grad for parameter in prepared.objective.parameters())


@pytest.mark.parametrize("space", SPACES)
def test_a_model_renders_its_start(space: str, encoder: Encoder) -> None:
    start = smooth_image(0, 33, 46).clamp(0.01, 0.99)
    torch.testing.assert_close(_model(space, start, encoder).image(), start, rtol=0, atol=1e-6)


@pytest.mark.parametrize("space", sorted(set(SPACES) - {"fourier"}))
def test_images_are_clamped_in_every_space(space: str, encoder: Encoder) -> None:
    start = smooth_image(0, 32, 48) * 3 - 1
    image = _model(space, start, encoder)
    assert image.image().min() < -0.1 and image.image().max() > 1.1
    image.after_update()
    assert image.image().min() >= -1e-6 and image.image().max() <= 1 + 1e-6
    torch.testing.assert_close(image.image(), start.clamp(0, 1), rtol=0, atol=1e-6)
    free = _model(space, start, encoder, clamp=False)
    free.after_update()
    assert free.image().max() > 1.1


def test_lbfgs_never_clamps(small: Callable) -> None:
    assert not prepare(small("optimizer=lbfgs")).image.clamp
    assert prepare(small()).image.clamp


def test_clamping_a_sum_of_changes_keeps_its_parameters() -> None:
    """Adam's moments belong to the parameters, so clamping moves the start instead."""
    image = LaplacianImage(smooth_image(0, 33, 46), clamp=True, decay=0.0)
    with torch.no_grad():
        for parameter in image.parameters():
            parameter.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
    rendered, before = image.image(), [parameter.clone() for parameter in image.parameters()]
    assert rendered.min() < -0.1 and rendered.max() > 1.1
    image.project()
    torch.testing.assert_close(image.image(), rendered.clamp(0, 1))
    assert all(torch.equal(*pair) for pair in zip(image.parameters(), before, strict=True))


def test_samples_are_saved_restored_and_removed() -> None:
    starts = [smooth_image(seed, 20, 24) for seed in range(3)]
    image = LaplacianImage(torch.cat(starts), clamp=True, decay=0.5)
    state = image.sample_state(1)
    with torch.no_grad():
        for parameter in image.parameters():
            parameter.fill_(0.1)
    image.load_sample_state(1, state)
    torch.testing.assert_close(image.image()[1:2], starts[1], rtol=0, atol=0)
    assert not torch.allclose(image.image()[0:1], starts[0])
    kept = image.image()[[0, 2]]
    image.keep_samples([0, 2], {})
    torch.testing.assert_close(image.image(), kept, rtol=0, atol=0)


def test_a_running_average_is_unbiased_by_its_empty_start() -> None:
    images = torch.arange(5.0).reshape(5, 1, 1, 1, 1).expand(5, 1, 3, 2, 2)
    average = Average(0.6, images[0])
    for image in images:
        average.add(image)
    weights = torch.tensor([0.6**age for age in (4, 3, 2, 1, 0)])
    expected = float((weights * torch.arange(5.0)).sum() / weights.sum())
    torch.testing.assert_close(average.image(), torch.full((1, 3, 2, 2), expected))


def test_a_fourier_coefficient_is_a_wave_in_a_decorrelated_colour() -> None:
    height, width = 12, 16
    image = FourierImage(torch.full((1, 3, height, width), 0.5, dtype=torch.float64), clamp=True, decay=0.0)
    torch.testing.assert_close(image.image(), torch.full_like(image.image(), 0.5))
    with torch.no_grad():
        image.spectrum[0, 1, 2, 3, 0] = 1.0  # 2 cycles down, 3 across, second colour
    rows, columns = np.mgrid[:height, :width]
    wave = np.cos(2 * np.pi * (2 * rows / height + 3 * columns / width))
    frequency = np.hypot(2 / height, 3 / width)
    amplitude = 2 / np.sqrt(height * width) / frequency / 4  # of an orthonormal transform, scaled, as in lucid
    covariance = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
    colors = covariance / np.linalg.norm(covariance, axis=0).max()
    expected = 1 / (1 + np.exp(-amplitude * wave * colors[:, 1, None, None]))
    np.testing.assert_allclose(image.image()[0].numpy(), expected, rtol=1e-12)


def test_fourier_images_stay_in_range_and_start_inside_it() -> None:
    start = smooth_image(0, 32, 47) * 3 - 1
    image = FourierImage(start, clamp=True, decay=0.0)
    torch.testing.assert_close(image.image(), start.clamp(1 / 128, 127 / 128), rtol=0, atol=1e-5)
    with torch.no_grad():
        image.spectrum.normal_(0, 50, generator=torch.Generator().manual_seed(0))
    assert image.image().min() >= 0 and image.image().max() <= 1


@pytest.mark.parametrize(
    ("model", "size", "channels"),
    [
        (LaplacianImage, (40, 60), [1, 1, 3]),
        (LaplacianImage, (200, 130), [1, 1, 3, 3, 3]),
        (LaplacianImage, (16, 12), [3]),
        (ColorLaplacianImage, (40, 60), [3, 3, 3]),
    ],
)
def test_laplacian_levels_halve_and_the_finest_are_grey(
    model: type[LaplacianImage], size: tuple[int, int], channels: list[int]
) -> None:
    start = smooth_image(0, *size)
    image = model(start, clamp=False, decay=0.0)
    halved = [(1, count, *(math.ceil(side / 2**level) for side in size)) for level, count in enumerate(channels)]
    assert [tuple(each.shape) for each in image.changes] == halved
    with torch.no_grad():
        for level, each in enumerate(image.changes):
            each.fill_(0.01 * 2**level)
    torch.testing.assert_close(image.image(), start + 0.01 * (2 ** len(channels) - 1))


def test_starts_with_foreign_colours_change_colours_at_all_resolutions(small: Callable) -> None:
    for init in ("noise", "style"):
        assert [each.shape[1] for each in prepare(small(f"init={init}")).image.parameters()] == [3, 3, 3]
    assert [each.shape[1] for each in prepare(small("init=recolored")).image.parameters()] == [1, 1, 3]


@pytest.mark.parametrize("space", ["laplacian", "fourier"])
def test_a_batch_of_models_equals_single_ones(space: str, encoder: Encoder) -> None:
    starts = torch.cat([smooth_image(seed, 32, 48) for seed in (0, 1)]).clamp(0.01, 0.99)
    batch = _model(space, starts, encoder)
    for sample, start in enumerate(starts.split(1)):
        single = _model(space, start, encoder)
        single.load_sample_state(0, batch.sample_state(sample))
        torch.testing.assert_close(single.image(), batch.image()[sample : sample + 1], rtol=0, atol=1e-6)


def test_moments_of_fourier_coefficients_are_not_carried(small: Callable) -> None:
    with pytest.raises(InputError, match=r"schedule\.carry needs another canvas\.space than fourier"):
        validate(small("canvas.space=fourier", "schedule=pyramid", "schedule.carry=true"))
