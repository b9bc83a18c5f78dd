"""Style terms by name: in the objective, in batches, in bands, in bfloat16, resumed, and a new one."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from src.common.errors import InputError
from src.config.composition import compose
from src.encoders import checkpointing
from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, feature_maps
from src.run import resume, run, run_batch
from src.tracking.record import RunRecord
from src.transfer.objective import Objective, build_objective
from src.transfer.terms.base import Inputs, Measured
from src.transfer.terms.layers import Guides, LayerTerm
from src.transfer.terms.registry import STYLE_TERMS, check_terms
from tests.support.pictures import smooth_image
from tests.support.prepare import prepare
from tests.support.runs import metric_rows, run_until

ALL = ",".join(STYLE_TERMS)
NAMED = ("loss=moments", "loss.palette=0", f"loss.terms=[{ALL}]", "loss.self_similarity=2")
SEARCHING = ("loss=moments", "loss.terms=[sliced_wasserstein,nearest]", "loss.rematch=3", "captures=[6]", "logger=csv")


def _gradient(objective: Objective, image: Tensor) -> tuple[dict[str, float], Tensor]:
    image = image.clone().requires_grad_()
    losses = objective(image)
    losses.total.sum().backward()
    assert image.grad is not None
    return losses.metrics()[0], image.grad


def test_named_terms_are_weighted_relative_to_beta_and_logged_under_their_names(small: Callable) -> None:
    options = ("loss.terms=[wasserstein,nearest,cmd]", "loss.term_weights=[1,0.5,0]", "loss.beta=7", "loss.palette=0.2")
    prepared = prepare(small("loss=moments", *options))
    (found,) = prepared.objective(prepared.image.render() * 0.9, full=True).metrics()
    style = found["loss/wasserstein"] + 0.5 * found["loss/nearest"] + 0.2 * found["loss/palette"]
    content = found["loss/content"] + 2 * found["loss/self_similarity"]
    assert found["loss/total"] == pytest.approx(content + 7 * style, rel=1e-6)
    assert {"loss/nearest/relu1_1", "loss/nearest/relu2_1"} <= set(found)
    assert not any("style" in name or "cmd" in name for name in found)


@pytest.mark.parametrize(("term", "loss"), [("moments", "moments"), ("gram", "normalized")])
def test_a_named_statistic_equals_the_form_that_compares_it(term: str, loss: str, small: Callable) -> None:
    named, plain = (
        prepare(small(f"loss={loss}", "loss.patches=0.2", f"loss.terms={terms}")) for terms in (f"[{term}]", "[]")
    )
    image = plain.inputs.content * 0.9
    mine, theirs = (each.objective(image).metrics()[0] for each in (named, plain))
    assert {name.replace(f"/{term}", "/style"): value for name, value in mine.items()} == theirs


@pytest.mark.parametrize(("capacity", "most"), [("null", None), ("2", 2)])
def test_the_uses_of_a_style_column_are_limited(capacity: str, most: int | None, small: Callable) -> None:
    prepared = prepare(
        small("loss=moments", "loss.terms=[nearest]", "layers.style=[relu1_1]", f"loss.capacity={capacity}")
    )
    prepared.objective(torch.full_like(prepared.inputs.content, 0.5))
    indices = prepared.objective.search_state()["nearest"]["relu1_1"]
    style = prepared.inputs.style
    fair = indices.numel() / (style.shape[2] * style.shape[3])
    uses = int(indices.flatten().bincount().max())
    assert uses > 10 * fair if most is None else uses <= math.ceil(most * fair)


def test_every_term_is_zero_at_its_target(small: Callable) -> None:
    prepared = prepare(small(*NAMED, "loss.alpha=0", "edge=64"))
    found, gradient = _gradient(prepared.objective, prepared.inputs.style)
    assert [found[f"loss/{name}"] for name in STYLE_TERMS] == pytest.approx([0] * len(STYLE_TERMS), abs=1e-5)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_picture_of_one_colour_has_finite_losses_and_gradients(value: float, small: Callable) -> None:
    """As the image, as the style, and as both."""
    config = small(*NAMED)
    prepared = prepare(config)
    flat, picture = torch.full_like(prepared.inputs.content, value), prepared.inputs.content
    for image, style in ((flat, picture), (picture, flat), (flat, flat)):
        objective = build_objective(config, prepared.encoder, Inputs.of(picture, style))
        found, gradient = _gradient(objective, image)
        assert all(map(math.isfinite, found.values())) and torch.isfinite(gradient).all()


@pytest.mark.parametrize("strategy", [Checkpointing(1, False), Checkpointing(3, True)], ids=str)
def test_bands_change_neither_the_losses_nor_the_gradient(
    strategy: Checkpointing, small: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointing, "BAND_BYTES", 1)
    config = small(*NAMED, "layers=c", "precision=64")
    prepared = prepare(config)
    inputs = Inputs.of(smooth_image(0, 61, 47).double(), smooth_image(1, 50, 64).double())
    image = smooth_image(2, 61, 47).double()
    expected, expected_gradient = _gradient(build_objective(config, prepared.encoder, inputs), image)
    found, gradient = _gradient(build_objective(config, prepared.encoder, inputs, strategy), image)
    assert found == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-12)


def test_a_joined_objective_equals_its_members(small: Callable) -> None:
    """Two styles, sizes of style, seeds and weights; with the searches of the members, and anew."""
    own = (("style=dots", "seed=1"), ("content=astronaut", "style=swell", "seed=2", "layers.weights=[0.9,0.1]"))
    members = [prepare(small(*NAMED, "precision=64", *each)) for each in own]
    images = torch.cat([member.inputs.content * 0.8 for member in members])
    for searched in (False, True):
        batch = images.clone().requires_grad_()
        joined = Objective.join([member.objective for member in members])
        together = joined(batch)
        together.total.sum().backward()
        for index, member in enumerate(members):
            alone, gradient = _gradient(member.objective, images[index : index + 1])
            assert together.metrics()[index] == pytest.approx(alone, rel=1e-8)
            torch.testing.assert_close(batch.grad[index : index + 1], gradient, rtol=1e-6, atol=1e-11)
            if searched:
                state = joined.search_state()["sliced_wasserstein"]["relu1_1"]
                assert state.tolist() == [[7], [7]]
            member.objective.search_again(7)


def test_bfloat16_features_are_compared_in_float32(small: Callable) -> None:
    exact, rough = (prepare(small(*NAMED, f"precision={precision}")) for precision in ("32", "bf16"))
    image = exact.inputs.content * 0.9
    (mine,), (theirs,) = (each.objective(image).metrics() for each in (rough, exact))
    assert mine == pytest.approx(theirs, rel=0.05)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_directions_and_matches_are_renewed_at_a_step_and_kept_by_a_resume(
    optimizer: str, small: Callable, tmp_path: Path
) -> None:
    config = small(*SEARCHING, f"optimizer={optimizer}")
    whole = run(config, tmp_path / "whole")
    assert whole.captures[-1].losses["total"] < (whole.initial_loss or 0)
    for step in (2, 3):
        folder = tmp_path / str(step)
        run_until(step, config, folder)
        resumed = resume(folder)
        assert resumed.captures[-1].losses == whole.captures[-1].losses
        assert (folder / "image.png").read_bytes() == (tmp_path / "whole/image.png").read_bytes()
        assert [row["loss/total"] for row in metric_rows(folder)] == [
            row["loss/total"] for row in metric_rows(tmp_path / "whole")
        ]
    once = run(small(*SEARCHING, f"optimizer={optimizer}", "loss.rematch=20"), tmp_path / "once")
    assert once.captures[-1].losses != whole.captures[-1].losses


def test_directions_change_with_the_seed_and_the_draw(small: Callable) -> None:
    options = ("loss=moments", "loss.terms=[sliced_wasserstein]")
    one, other = (prepare(small(*options, f"seed={seed}")) for seed in (0, 1))
    image = one.inputs.content
    first, second = (each.objective(image).total for each in (one, other))
    assert first != second
    assert torch.equal(one.objective(image).total, first), "between two draws the loss is a function of the image"
    one.objective.search_again(5)
    assert one.objective(image).total != first
    one.objective.load_search_state()
    assert torch.equal(one.objective(image).total, first), "without a number, those of draw 0"


def test_a_batch_of_runs_with_every_term_equals_single_runs(small: Callable, tmp_path: Path) -> None:
    configs = [small(*NAMED, "precision=64", "loss.rematch=3", f"style={style}") for style in ("dots", "swell")]
    together = run_batch([(config, tmp_path / str(number)) for number, config in enumerate(configs)], at_once=2)
    for number, config in enumerate(configs):
        alone, batched = run(config, tmp_path / f"alone{number}"), together[number]
        assert isinstance(batched, RunRecord) and batched.batch == 2
        assert batched.captures[-1].losses == pytest.approx(alone.captures[-1].losses, rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss.terms=[grm]"], "loss.terms: grm is unknown; the style terms: gram, moments, mean_std, wasserstein"),
        (["loss.terms=[gram,gram]"], "loss.terms names a term twice"),
        (["loss.terms=[gram,cmd]", "loss.term_weights=[1]"], "needs one number >= 0 for each of loss.terms"),
        (["loss.terms=[gram]", "loss.term_weights=[-1]"], "needs one number >= 0 for each of loss.terms"),
        (["loss.terms=[gram]", "loss.term_weights=[0]"], "needs one number >= 0 for each of loss.terms"),
        (["loss.term_weights=[1]"], "needs one number >= 0 for each of loss.terms"),
    ],
)
def test_unknown_terms_and_bad_weights_are_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_terms(compose(overrides))


class PowerTerm(LayerTerm):
    """A toy term: squared difference of the mean square of each channel at each tap."""

    name = "power"

    def measure_style(
        self, encoder: Encoder, image: Tensor, guides: Guides, checkpointing: Checkpointing
    ) -> dict[str, Tensor]:
        """Return the mean squares of a style image, (1, C) by tap."""
        maps = feature_maps(encoder, image, guides, checkpointing)
        return {tap: features.square().mean((2, 3)) for tap, features in maps.items()}

    @staticmethod
    def mix(parts: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
        """Return the mean squares of the mixture."""
        return torch.stack([share * part for part, share in zip(parts, shares, strict=True)]).sum(0)

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the sum of squares of each channel, (B, C)."""
        return {"square": features.square().sum((2, 3))}

    def distance(self, tap: str, measured: Measured) -> Tensor:
        """Return the squared difference, (B,)."""
        return (measured.sums[tap]["square"] / measured.positions[tap] - self.target[tap]).square().mean(1)


@pytest.mark.parametrize("memory", ["whole", "tiled"])
def test_a_style_term_is_one_class_and_one_line_of_the_registry(
    memory: str, small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STYLE_TERMS, "power", f"{__name__}:PowerTerm")
    options = ("loss=moments", "loss.palette=0", "logger=csv", f"trainer.memory={memory}", "init=content")
    configs = [small(*options, "loss.terms=[power,gram]", f"style={style}") for style in ("dots", "swell")]
    records = run_batch([(config, tmp_path / str(number)) for number, config in enumerate(configs)], at_once=2)
    for number, record in enumerate(records):
        assert isinstance(record, RunRecord)
        losses = record.captures[-1].losses
        expected = losses["content"] + 2 * losses["self_similarity"] + 10 * (losses["power"] + losses["gram"])
        assert losses["total"] == pytest.approx(expected, rel=1e-5) and losses["total"] < (record.initial_loss or 0)
        assert {"loss/power", "loss/power/relu1_1"} <= set(metric_rows(tmp_path / str(number))[-1])
