"""A picture measured in bands of rows is the picture measured whole: values, and gradients at every pixel."""

import pytest
import torch
from torch import Tensor

from src.config.schema import Backbone, Loss
from src.encoders import recomputation
from src.encoders.bands import whole_taps
from src.encoders.recomputation import Band, Recomputation
from src.encoders.vgg import Extractor
from src.encoders.weights import build_extractor
from src.transfer.objective import Objective, Taps
from tests.support.pictures import smooth_image

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
WAYS = [Recomputation(blocks, banded) for blocks in (1, 2, 5) for banded in (False, True)]
NETWORKS = [Backbone(), Backbone(name="vgg19", weights="random", pool="max"), Backbone(pool="avg")]


@pytest.fixture(autouse=True)
def _narrow_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recomputation, "BAND", 1)  # as few rows as the overlap allows


def _extractor(backbone: Backbone, *taps: str) -> Extractor:
    return build_extractor(backbone, [*STYLE, *taps])[0].to(memory_format=torch.channels_last).speed_up()


def _evaluated(objective: Objective, image: Tensor, way: Recomputation) -> tuple[dict[str, Tensor], Tensor]:
    objective.recomputed = way
    objective.forget_matches()
    image = image.clone().requires_grad_()
    terms = objective(objective.extractor.normalize(image))
    terms.total.sum().backward()
    assert image.grad is not None
    values = {"total": terms.total, "content": terms.content, **terms.layers}
    return {name: value.detach() for name, value in values.items() if value is not None}, image.grad


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("loss", ["patches", "moments", "normalized", "equations", "published"])
def test_every_loss_and_its_gradient_are_those_of_the_whole(loss: str, way: Recomputation) -> None:
    """Odd sizes: a last row that the pooling leaves out, bands that do not come out even."""
    content, style, image = smooth_image(0, 101, 47), smooth_image(1, 90, 64), smooth_image(2, 101, 47)
    extractor = _extractor(Backbone())
    normalized = [extractor.normalize(each) for each in (content, style)]
    taps = Taps(dict.fromkeys(STYLE, 0.2), "relu3_1")
    options = Loss(name=loss, tv=0.1)
    objective = Objective(extractor, taps, options, *normalized)
    expected, gradient = _evaluated(objective, image, Recomputation())
    measured_so = Objective(extractor, taps, options, *normalized, way)
    for each in (objective, measured_so):
        found, mine = _evaluated(each, image, way)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=0)
        assert (mine - gradient).norm() < 1e-4 * gradient.norm()
        assert (mine - gradient).abs().max() < 1e-3 * gradient.abs().max()


@pytest.mark.parametrize("backbone", NETWORKS, ids=lambda each: f"{each.name}-{each.pool}")
def test_every_network_and_its_borders(backbone: Backbone) -> None:
    """Zeros and replicated borders, every pooling, taps before and after the ReLU, a content tap below the deepest."""
    content, image = smooth_image(0, 66, 40), smooth_image(1, 66, 40)
    extractor = _extractor(backbone, "conv4_1")
    taps = Taps(dict.fromkeys(STYLE, 0.2), "conv4_1")
    objective = Objective(extractor, taps, Loss(name="normalized"), *map(extractor.normalize, (content, content)))
    expected, gradient = _evaluated(objective, image, Recomputation())
    found, mine = _evaluated(objective, image, Recomputation(5, True))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=0)
    assert (mine - gradient).norm() < 1e-4 * gradient.norm()


def test_a_batch_is_taken_in_bands_as_one_picture_is() -> None:
    content, images = smooth_image(0, 48, 40), torch.cat([smooth_image(1, 48, 40), smooth_image(2, 48, 40)])
    extractor = _extractor(Backbone())
    objective = Objective(extractor, Taps({"relu1_1": 1.0, "relu2_1": 1.0}, "relu2_1"), Loss(), content, content)
    expected, gradient = _evaluated(objective, images, Recomputation())
    found, mine = _evaluated(objective, images, Recomputation(2, True))
    torch.testing.assert_close(found["total"], expected["total"])
    assert expected["total"].shape == (2,) and (mine - gradient).norm() < 1e-4 * gradient.norm()


@pytest.mark.parametrize("height", [*range(8, 40), 101])
@pytest.mark.parametrize("pools", [True, False])
def test_bands_cover_every_row_once(height: int, pools: bool) -> None:
    made = Recomputation(1, True).bands(height, 10.0, 3, pools)
    assert [row for band in made for row in range(height)[band.rows]] == list(range(height))
    output = height // 2 if pools else height
    assert [row for band in made for row in range(output)[band.pooled]] == list(range(output))
    for band in made:
        computed = range(height)[band.read]
        assert [computed[row] for row in range(len(computed))[band.inner]] == list(range(height)[band.rows])
        assert band.read.start % 2 == 0, "rows are pooled in the pairs they are pooled in"
        assert band.read.start in (0, band.top - 4) and band.read.stop in (height, band.bottom + 4)
    assert len(made) > 1 or height < 14


def test_a_block_is_taken_as_one_where_bands_are_not_asked_for() -> None:
    assert Recomputation(1, False).bands(1000, 1e9, 3, True) == [Band(0, 1000, 1000, 4, True)]


def test_taps_are_gathered_from_bands() -> None:
    extractor = _extractor(Backbone(), "conv2_1")
    image = extractor.normalize(smooth_image(0, 61, 40))
    expected = extractor(image, ["relu1_1", "conv2_1", "relu3_1"])
    found = whole_taps(extractor, image, ["relu1_1", "conv2_1", "relu3_1"], Recomputation(5, True))
    assert list(found) == list(expected)
    for tap, features in expected.items():
        assert (found[tap] - features).abs().max() < 1e-5 * features.abs().max()
    assert whole_taps(extractor, image, [], Recomputation(5, True)) == {}
