"""The presets with settings of known programs against transcriptions of their loss formulas in plain torch.

Each transcription takes features of torchvision's layers in float64 from the program's own kind of input, and adds its
terms as its source does: Gatys's NeuralStyleTransfer.ipynb, neural-style-pt's neural_style.py, crowsonkb's
style_transfer.py, and the loss of SGSST's stylize.py. docs/presets.md has the addresses.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from src.config.composition import compose
from src.config.schedule import stages
from src.report.options import result_options
from src.report.reproduction import implied_options, overrides
from src.run import run
from src.training.setup import load_encoder
from src.transfer.objective import used_taps
from src.transfer.scales import build_scales
from src.transfer.start import starting_image
from src.transfer.terms.base import Inputs
from tests.report.test_reproduction import recorded
from tests.support.pictures import smooth_image

PRESETS = ("gatys2016", "neural_style_pt", "crowsonkb")
RELUS = {"relu1_1": 1, "relu2_1": 6, "relu3_1": 11, "relu4_1": 20, "relu4_2": 22, "relu5_1": 29}
STYLE, CONTENT = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), "relu4_2"
HEIGHT, WIDTH = 32, 48
MEAN = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Sequential, Path]:
    """VGG-19 with weights of chance, and their file."""
    torch.manual_seed(0)
    network = make_layers(cfgs["E"])[:30]
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    path = tmp_path_factory.mktemp("weights") / "features.pth"
    torch.save(network.state_dict(), path)
    return network.double(), path


def _features(network: nn.Sequential, values: Tensor) -> dict[str, Tensor]:
    found = {}
    for number, layer in enumerate(network):
        values = F.relu(values) if isinstance(layer, nn.ReLU) else layer(values)
        found |= {tap: values for tap, place in RELUS.items() if place == number}
    return found


def _caffe(image: Tensor) -> Tensor:
    """Blue, green, red from 0 to 255, less the mean."""
    return image[:, [2, 1, 0]] * 255 - MEAN


def _gram(features: Tensor) -> Tensor:
    flat = features.flatten(2)
    return torch.bmm(flat, flat.transpose(1, 2))


def _gatys(network: nn.Sequential, image: Tensor, content: Tensor, style: Tensor) -> dict[str, Tensor]:
    mine, theirs, wanted = (_features(network, _caffe(each)) for each in (image, content, style))
    found = {"content": F.mse_loss(mine[CONTENT], theirs[CONTENT])}
    for tap, n in zip(STYLE, (64, 128, 256, 512, 512), strict=True):
        grams = [_gram(each[tap]) / each[tap][0, 0].numel() for each in (mine, wanted)]
        found[tap] = 1e3 / n**2 * F.mse_loss(*grams)
    return found


def _neural_style(network: nn.Sequential, image: Tensor, content: Tensor, style: Tensor) -> dict[str, Tensor]:
    pixels = _caffe(image)
    mine, theirs, wanted = (_features(network, each) for each in (pixels, _caffe(content), _caffe(style)))
    found = {"content": 5 * F.mse_loss(mine[CONTENT], theirs[CONTENT])}
    for tap in STYLE:
        found[tap] = 100 * F.mse_loss(*(_gram(each[tap]) / each[tap].nelement() for each in (mine, wanted)))
    variation = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().sum() + (pixels[..., 1:] - pixels[..., :-1]).abs().sum()
    return {**found, "tv": 1e-3 * variation}


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.clamp_min(0).sqrt().diag_embed() @ vectors.mT


def _crowsonkb(network: nn.Sequential, image: Tensor, content: Tensor, style: Tensor) -> dict[str, Tensor]:
    mean, std = (
        torch.tensor(each).double().view(1, 3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    mine, theirs, wanted = (_features(network, (each - mean) / std) for each in (image, content, style))
    found = {"content": 0.015 * F.mse_loss(mine[CONTENT], theirs[CONTENT])}
    for tap, weight in zip(STYLE[:3], (256, 64, 16), strict=True):  # of five; decompositions take time
        means, covariances = [], []
        for each in (mine, wanted):
            means.append(each[tap].mean([-2, -1]))
            second = _gram(each[tap]) / each[tap][0, 0].numel()
            outer = means[-1].unsqueeze(2) * means[-1].unsqueeze(1)
            covariances.append(second - outer + 1e-4 * torch.eye(second.shape[-1], dtype=torch.float64))
        root = _root(covariances[1])
        traces = (covariances[0] + covariances[1] - 2 * _root(root @ covariances[0] @ root)).diagonal(dim1=-2, dim2=-1)
        found[tap] = weight / 341 * (((means[0] - means[1]) ** 2).mean() + traces.mean())
    rim = F.pad(image, (1, 1, 1, 1), "replicate")
    right = (rim[..., 1:-1, 2:] - rim[..., 1:-1, 1:-1]).pow(2).mean() / 3
    down = (rim[..., 2:, 1:-1] - rim[..., 1:-1, 1:-1]).pow(2).mean() / 3
    one = (rim[..., 1:, 1:] - rim[..., :-1, :-1]).pow(2).mean() / 12
    other = (rim[..., 1:, :-1] - rim[..., :-1, 1:]).pow(2).mean() / 12
    return {**found, "tv": 2 * 2 * (right + down + one + other)}


def _sgsst(network: nn.Sequential, image: Tensor, content: Tensor, style: Tensor) -> dict[str, Tensor]:
    """One size; the total is the mean over sizes."""
    mine, theirs, wanted = (_features(network, _caffe(each)) for each in (image, content, style))
    found = {"content": F.mse_loss(mine[CONTENT], theirs[CONTENT])}
    for tap, n in zip(STYLE, (64, 128, 256, 512, 512), strict=True):
        grams = [_gram(each[tap]) / each[tap][0, 0].numel() for each in (mine, wanted)]
        means = [each[tap].mean((2, 3)) for each in (mine, wanted)]
        deviations = [(gram.diagonal(dim1=1, dim2=2) - mean**2).sqrt() for gram, mean in zip(grams, means, strict=True)]
        weight = 1e3 / n**2
        moments = weight * n**2 * 1000 / 100 * (F.mse_loss(*means) + F.mse_loss(*deviations))
        found[tap] = weight * F.mse_loss(*grams) + moments
    return found


@pytest.mark.parametrize(
    ("options", "transcription"),
    [
        (["experiment=gatys2016"], _gatys),
        # The preset's weight of TV is that of 512 x 384 px.
        (["experiment=neural_style_pt", f"loss.tv={1e-3 * 255 * 3 * HEIGHT * WIDTH}"], _neural_style),
        (["experiment=crowsonkb", "layers=c", "layers.weights=[256,64,16]"], _crowsonkb),
        (["loss=gram_mean_std", "backbone=vgg19_caffe", "backbone.pool=max"], _sgsst),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_loss_is_the_programs(
    options: list[str], transcription: Callable, layers: tuple[nn.Sequential, Path]
) -> None:
    network, weights = layers
    image, content, style = (smooth_image(seed, HEIGHT, WIDTH).double() for seed in (0, 1, 2))
    expected = {name: value.item() for name, value in transcription(network, image, content, style).items()}
    config = compose([*options, f"backbone.weights={weights}"])
    encoder = load_encoder(config, used_taps(config), "64", torch.device("cpu")).encoder
    objective = build_scales(config, encoder, Inputs.of(content, style))
    losses = objective(image)
    found = {name: (objective.weights[name] * value.total).item() for name, value in losses.terms.items()}
    (term,) = set(found) & {"style", "absolute_wasserstein"}
    del found[term]
    for tap, weight in objective.terms[term].weights.items():
        found[tap] = (objective.weights[term] * weight * losses.terms[term].parts[tap]).item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert losses.total.item() == pytest.approx(sum(expected.values()), rel=1e-5)


def test_tv_of_neural_style_is_that_of_512_x_384_px() -> None:
    assert compose(["experiment=neural_style_pt"]).loss.tv == pytest.approx(1e-3 * 255 * 3 * 512 * 384, rel=1e-5)


def test_crowsonkbs_pyramid_has_its_sizes_and_iterations() -> None:
    assert compose(["experiment=crowsonkb"]).layers.weights == [256, 64, 16, 4, 1]
    found = [(stage.edge, stage.last - stage.first) for stage in stages(compose(["experiment=crowsonkb"]))]
    assert found == [(128, 1000), (181, 500), (256, 500), (362, 500), (512, 500)]


def test_neural_style_starts_almost_even_and_full_contrast_is_unchanged() -> None:
    content = smooth_image(0, 8, 8)
    even, full = (
        starting_image(compose([each]).init, content, content, 0, None)
        for each in ("experiment=neural_style_pt", "init=noise")
    )
    assert 0 < (even - 0.5).abs().max() < 1e-5
    torch.testing.assert_close(even - 0.5, 1.4e-5 * (full - 0.5), rtol=0.01, atol=1e-7)
    assert torch.equal(full, torch.rand(content.shape, generator=torch.Generator().manual_seed(0)))


def test_a_sweep_of_presets_differs_by_preset_alone_in_a_report() -> None:
    records = [recorded(f"experiment={name}", "content=cat", "style=dots", "edge=96") for name in PRESETS]
    for record, name in zip(records, PRESETS, strict=True):
        options = result_options(record)
        left = {key: value for key, value in options.items() if key not in implied_options(record, options)}
        assert left.pop("preset") == name and left.get("edge") == 96
        assert overrides(record) == ["content=cat", "style=dots", f"experiment={name}", "edge=96"]
        # what is left is the same in all of them
        others = [result_options(other) for other in records]
        assert all(len({str(each[key]) for each in others}) == 1 for key in left)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_lowers_its_loss(name: str, small: Callable, tmp_path: Path) -> None:
    quick = ("layers=b", "layers.content=relu2_1", "edge=48", "steps=4", "captures=[4]", "logger=none", "trainer=cpu")
    weights = ("layers.weights=[256,64]",) if name == "crowsonkb" else ()
    record = run(
        small(f"experiment={name}", "content=cat", "style=dots", "backbone=embedded", *quick, *weights, base=()),
        tmp_path,
    )
    losses = record.captures[-1].losses
    assert record.status == "finished" and losses["total"] < record.initial_loss
    assert {"content", "absolute_wasserstein" if name == "crowsonkb" else "style"} <= set(losses)
    assert ("tv" in losses) == (name != "gatys2016")


def test_presets_compose_in_any_order() -> None:
    for one, other in itertools.permutations(PRESETS, 2):
        assert compose([f"experiment=[{one},{other}]"]).preset == other
