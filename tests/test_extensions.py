"""A term, an encoder and an image model of one class each run through the whole program."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import torch
from torch import Tensor, nn

from src.config import validation
from src.config.schema import Backbone, RunConfig
from src.data.images import read_image
from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, feature_maps
from src.encoders.registry import ENCODERS, EncoderSpec, TapInfo
from src.run import resume, run, run_batch
from src.tracking.record import RunRecord
from src.training.checkpoints import CHECKPOINT
from src.transfer import objective
from src.transfer.image_models.base import ImageModel
from src.transfer.image_models.registry import IMAGE_MODELS
from src.transfer.objective import Objective
from src.transfer.terms.base import Inputs, Measured, Term, TermValue
from tests.support.prepare import prepare
from tests.support.runs import metric_rows, run_until


class MeanTerm(Term):
    """A toy term: squared distance of the mean activations at one tap to those of the style image."""

    name = "mean"
    taps = ("relu1_1",)
    target_of = ("style",)
    target: Tensor

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep the means of the style image, (1, C)."""
        self.target = feature_maps(encoder, inputs.style, self.taps, checkpointing)["relu1_1"].mean((2, 3))

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the sum of each channel, (B, C)."""
        return {"total": features.sum((2, 3))}

    def __call__(self, measured: Measured) -> TermValue:
        """Return the squared distance of the means."""
        (tap,) = self.taps
        mean = measured.sums[tap]["total"] / measured.positions[tap]
        return TermValue((mean - self.target).square().mean(1))

    @classmethod
    def join(cls, terms: Sequence[Self]) -> Self:
        """Return the term of a batch."""
        joined = cls()
        joined.target = torch.cat([term.target for term in terms])
        return joined


@pytest.fixture
def mean_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the toy term to every objective, with weight 5."""

    def build(config: RunConfig, encoder: Encoder, inputs: Inputs) -> list[tuple[float, Term]]:
        return [(5.0, MeanTerm())]

    monkeypatch.setattr(objective, "TERMS", [*objective.TERMS, build])


@pytest.mark.usefixtures("mean_term")
@pytest.mark.parametrize("memory", ["whole", "tiled"])
def test_a_toy_term_is_optimised_recorded_and_logged_under_its_name(
    memory: str, small: Callable, tmp_path: Path
) -> None:
    record = run(
        small("loss=moments", "loss.palette=0", "loss.beta=10", "logger=csv", f"trainer.memory={memory}"), tmp_path
    )
    losses = record.captures[-1].losses
    expected = losses["content"] + 2 * losses["self_similarity"] + 10 * losses["style"] + 5 * losses["mean"]
    assert losses["total"] == pytest.approx(expected, rel=1e-5)
    rows = metric_rows(tmp_path)
    assert float(rows[-1]["loss/mean"]) == losses["mean"] < 0.9 * float(rows[0]["loss/mean"])


@pytest.mark.usefixtures("mean_term")
def test_a_batch_with_a_toy_term_equals_single_runs(small: Callable, tmp_path: Path) -> None:
    options = ("loss=moments", "init=content", "precision=64")
    configs = [small(*options, f"style={style}") for style in ("dots", "swell")]
    together = run_batch([(config, tmp_path / str(number)) for number, config in enumerate(configs)], at_once=2)
    for number, config in enumerate(configs):
        alone, batched = run(config, tmp_path / f"alone{number}"), together[number]
        assert isinstance(batched, RunRecord) and batched.batch == 2
        for mine, theirs in zip(batched.captures, alone.captures, strict=True):
            assert mine.losses == pytest.approx(theirs.losses, rel=1e-8)


@pytest.mark.usefixtures("mean_term")
def test_a_batch_of_two_with_a_toy_term_has_the_gradients_of_two_singles(small: Callable) -> None:
    members = [prepare(small("loss=moments", "precision=64", f"style={style}")) for style in ("dots", "swell")]
    images = torch.cat([member.inputs.content * 0.8 for member in members])
    batch = images.clone().requires_grad_()
    together = Objective.join([member.objective for member in members])(batch)
    together.total.sum().backward()
    for index, member in enumerate(members):
        single = images[index : index + 1].clone().requires_grad_()
        alone = member.objective(single)
        alone.total.sum().backward()
        torch.testing.assert_close(together.terms["mean"].total[index : index + 1], alone.terms["mean"].total)
        torch.testing.assert_close(batch.grad[index : index + 1], single.grad, rtol=1e-8, atol=1e-12)


class Edges(Encoder):
    """A toy encoder of one block: differences of neighbouring pixels, after a ReLU, at half the size."""

    def __init__(self) -> None:
        super().__init__(EdgesSpec.taps)
        filters = torch.zeros(4, 3, 2, 2)
        filters[0, :, :, 0], filters[0, :, :, 1] = 1.0, -1.0
        filters[1], filters[2], filters[3] = -filters[0], filters[0].mT, -filters[0].mT
        self.register_buffer("filters", filters)

    def run_block(
        self, block: int, values: Tensor, taps: Iterable[str], last: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the one tap."""
        filters = self.filters
        assert block == 1 and last and isinstance(filters, Tensor)
        return {"edges": torch.relu(nn.functional.conv2d(values, filters, stride=2))}, None


@dataclass(frozen=True)
class EdgesSpec(EncoderSpec):
    """What the registry holds of the toy encoder."""

    name = "edges"
    taps = {"edges": TapInfo(channels=4, stride=2)}  # noqa: RUF012

    def explain_taps(self) -> str:
        """Return the name of the tap."""
        return "edges"

    def build(self, backbone: Backbone, taps: list[str], mirror: str | None) -> tuple[Encoder, str]:
        """Return the encoder and a checksum."""
        return Edges(), "0" * 64


@pytest.mark.parametrize(
    "options",
    [
        ("loss=moments", "optimizer=lbfgs"),
        ("loss=patches", "trainer.memory=checkpointed"),
        ("loss=normalized", "schedule=pyramid", "edge=96", "canvas.space=normalized"),
    ],
)
def test_a_toy_encoder_runs_under_names_of_its_own(
    options: tuple[str, ...], small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENCODERS, "edges", EdgesSpec())
    where = ("backbone.name=edges", "layers.style=[edges]", "layers.content=edges", "init=content", "logger=csv")
    record = run(small(*where, *options), tmp_path)
    losses = record.captures[-1].losses
    assert record.status == "finished" and losses["total"] < record.initial_loss
    assert "style/edges" in losses and ("patches/edges" in losses) == ("loss=patches" in options)
    assert {"loss/style/edges", "loss/content"} <= set(metric_rows(tmp_path)[-1])
    assert record.weights_sha256 == "0" * 64


class GrayImage(ImageModel):
    """A toy image model: a start plus one value per pixel, the same for all three channels."""

    start: Tensor

    def __init__(self, start: Tensor, clamp: bool, decay: float) -> None:
        super().__init__(start, clamp, decay)
        self.register_buffer("start", start.detach().clone())
        self.gray = nn.Parameter(torch.zeros_like(start[:, :1]))

    @classmethod
    def build(cls, start: Tensor, encoder: Encoder, clamp: bool, decay: float) -> "GrayImage":
        """Return the model of images."""
        return cls(start, clamp, decay)

    def render(self) -> Tensor:
        """Return the images."""
        return self.start + self.gray

    @torch.no_grad()
    def project(self) -> None:
        """Clamp the images by moving the start."""
        self.start.copy_(self.render().clamp(0, 1) - self.gray)


@pytest.fixture
def gray_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the toy image model as canvas.space=gray."""
    monkeypatch.setitem(IMAGE_MODELS, "gray", GrayImage)
    monkeypatch.setitem(validation.CHOICES, "canvas.space", (*validation.CHOICES["canvas.space"], "gray"))


@pytest.mark.usefixtures("gray_image")
def test_a_toy_image_model_is_optimised_and_resumed(small: Callable, tmp_path: Path) -> None:
    options = ("canvas.space=gray", "canvas.clamp=false", "init=content", "loss=moments", "captures=[0,3,6]")
    config = small(*options, "edge=96", "schedule=pyramid")
    record = run(config, tmp_path / "whole")
    assert record.captures[-1].losses["total"] < record.initial_loss
    state = torch.load(tmp_path / "whole" / CHECKPOINT, weights_only=True)["state_dict"]
    assert set(state) == {"image.start", "image.gray"} and state["image.gray"].std() > 0
    run_until(5, config, tmp_path / "stopped")
    resumed = resume(tmp_path / "stopped")
    assert resumed.captures[-1].losses == record.captures[-1].losses
    assert read_image(tmp_path / "stopped/image.png").tobytes() == read_image(tmp_path / "whole/image.png").tobytes()


@pytest.mark.usefixtures("gray_image")
def test_a_batch_with_a_toy_image_model_equals_single_runs(small: Callable, tmp_path: Path) -> None:
    """One of three pairs stops early, and its sample leaves the batch."""
    options = ("canvas.space=gray", "init=content", "loss=moments", "schedule.average=0.5", "precision=64")
    styles = (("style=dots",), ("style=swell", "stop_at_loss=1e6"), ("style=tesserae",))
    configs = [small(*options, *style) for style in styles]
    together = run_batch([(config, tmp_path / str(number)) for number, config in enumerate(configs)], at_once=3)
    for number, config in enumerate(configs):
        alone, batched = run(config, tmp_path / f"alone{number}"), together[number]
        assert isinstance(batched, RunRecord) and batched.batch == 3 and batched.stopped == alone.stopped
        assert batched.captures[-1].losses == pytest.approx(alone.captures[-1].losses, rel=1e-8)
