"""Activation checkpointing, by block and by band of rows, changes neither the losses nor the gradient of any pixel."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from src.config.schema import Backbone, Layers, Loss, RunConfig
from src.encoders import checkpointing
from src.encoders.base import Encoder
from src.encoders.checkpointing import KEEP_ALL, Checkpointing, bands, feature_maps
from src.encoders.registry import encoder_spec
from src.encoders.vgg import VGG
from src.transfer.objective import Objective, build_objective
from src.transfer.terms.base import Inputs
from tests.support.pictures import smooth_image

STYLE = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
STRATEGIES = [Checkpointing(blocks, banded) for blocks in (1, 2, 5) for banded in (False, True)]
LOSSES = ["patches", "moments", "normalized", "equations", "published"]
NETWORKS = [Backbone(), Backbone(name="vgg19", weights="random", pool="max"), Backbone(pool="avg")]


@pytest.fixture(autouse=True)
def _narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make bands as narrow as their overlap allows."""
    monkeypatch.setattr(checkpointing, "BAND_BYTES", 1)


def _encoder(backbone: Backbone, *taps: str) -> Encoder:
    encoder, _ = encoder_spec(backbone.name).build(backbone, [*STYLE, *taps], None)
    encoder.to(memory_format=torch.channels_last)
    encoder.use_kernels()
    return encoder


def _config(content_tap: str, loss: Loss, style_taps: Iterable[str] = STYLE) -> RunConfig:
    return RunConfig(layers=Layers(style=list(style_taps), content=content_tap), loss=loss)


def _evaluate(objective: Objective, image: Tensor, strategy: Checkpointing) -> tuple[list[dict[str, float]], Tensor]:
    """Return the losses of each sample by name, and the gradient in the image."""
    objective.checkpointing = strategy
    objective.load_search_state()
    image = image.clone().requires_grad_()
    losses = objective(image)
    losses.total.sum().backward()
    assert image.grad is not None
    return losses.metrics(), image.grad


@pytest.mark.parametrize(
    ("loss", "strategy"),
    # only bands tell the forms of the loss apart
    [(loss, each) for loss in LOSSES for each in STRATEGIES if each.banded or loss == LOSSES[0]],
    ids=str,
)
def test_checkpointing_keeps_losses_and_gradient_of_every_loss_form(loss: str, strategy: Checkpointing) -> None:
    """Sizes are odd, so that the pooling rounds up and the bands differ in height."""
    inputs = Inputs.of(smooth_image(0, 101, 47), smooth_image(1, 90, 64))
    image, encoder = smooth_image(2, 101, 47), _encoder(Backbone())
    config = _config("relu3_1", Loss(name=loss, tv=0.1))
    objective = build_objective(config, encoder, inputs)
    (expected,), expected_gradient = _evaluate(objective, image, KEEP_ALL)
    targets_in_bands = build_objective(config, encoder, inputs, strategy)
    for each in (objective, targets_in_bands):
        (found,), gradient = _evaluate(each, image, strategy)
        assert found == pytest.approx(expected, rel=1e-4, abs=0)
        assert (gradient - expected_gradient).norm() < 1e-4 * expected_gradient.norm()
        assert (gradient - expected_gradient).abs().max() < 1e-3 * expected_gradient.abs().max()


@pytest.mark.parametrize("backbone", NETWORKS, ids=lambda each: f"{each.name}-{each.pool}")
def test_checkpointing_is_exact_for_every_padding_and_pooling(backbone: Backbone) -> None:
    """Style is read after the ReLU and content before it, at a tap that is not the deepest."""
    content, image = smooth_image(2, 67, 41), smooth_image(3, 67, 41)  # no activation within rounding of a ReLU's kink
    encoder = _encoder(backbone, "conv4_1")
    objective = build_objective(_config("conv4_1", Loss(name="normalized")), encoder, Inputs.of(content, content))
    (expected,), expected_gradient = _evaluate(objective, image, KEEP_ALL)
    (found,), gradient = _evaluate(objective, image, Checkpointing(5, True))
    assert found == pytest.approx(expected, rel=1e-4, abs=0)
    assert (gradient - expected_gradient).norm() < 1e-4 * expected_gradient.norm()


def test_a_batch_is_evaluated_in_bands_as_a_single_image_is() -> None:
    content, images = smooth_image(0, 48, 40), torch.cat([smooth_image(1, 48, 40), smooth_image(2, 48, 40)])
    config = _config("relu2_1", Loss(), ["relu1_1", "relu2_1"])
    objective = build_objective(config, _encoder(Backbone()), Inputs.of(content, content))
    expected, expected_gradient = _evaluate(objective, images, KEEP_ALL)
    found, gradient = _evaluate(objective, images, Checkpointing(2, True))
    assert len(found) == len(expected) == 2
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)
    assert (gradient - expected_gradient).norm() < 1e-4 * expected_gradient.norm()


@pytest.mark.parametrize("height", [*range(8, 40), 101])
@pytest.mark.parametrize("pooling", ["none", "down", "up"])
def test_bands_cover_every_row_once(height: int, pooling: str) -> None:
    output = {"none": height, "down": height // 2, "up": (height + 1) // 2}[pooling]
    found = bands(height, 10.0, 3, output)
    assert [row for band in found for row in range(height)[band.rows]] == list(range(height))
    assert [row for band in found for row in range(output)[band.output_rows]] == list(range(output))
    for band in found:
        computed = range(height)[band.read]
        assert [computed[row] for row in range(len(computed))[band.inner]] == list(range(height)[band.rows])
        assert band.read.start % 2 == 0, "a band pools the same pairs of rows as the whole map"
        assert band.read.start in (0, band.top - 4) and band.read.stop in (height, band.bottom + 4)
    assert len(found) > 1 or height < 14


def test_a_block_is_recomputed_in_one_piece_unless_bands_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    image, encoder = smooth_image(0, 60, 40), _encoder(Backbone())
    heights: list[int] = []
    run_block = VGG.run_block

    def watched(self: VGG, block: int, values: Tensor, taps: Iterable[str], last: bool) -> object:
        heights.append(values.shape[2])
        return run_block(self, block, values, taps, last)

    monkeypatch.setattr(VGG, "run_block", watched)
    feature_maps(encoder, image, ["relu1_1"], Checkpointing(1, False))
    assert heights == [60]
    heights.clear()
    feature_maps(encoder, image, ["relu1_1"], Checkpointing(1, True))
    assert len(heights) > 1 and max(heights) < 60


def test_feature_maps_are_collected_from_bands() -> None:
    image, taps = smooth_image(0, 61, 40), ["relu1_1", "conv2_1", "relu3_1"]
    encoder = _encoder(Backbone(), "conv2_1")
    expected = encoder.features(image, taps)
    found = feature_maps(encoder, image, taps, Checkpointing(5, True))
    assert list(found) == list(expected)
    for tap, features in expected.items():
        assert (found[tap] - features).abs().max() < 1e-5 * features.abs().max()
    assert feature_maps(encoder, image, [], Checkpointing(5, True)) == {}
