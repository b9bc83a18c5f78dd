"""schedule=simultaneous: the mean of the losses at several halvings of the image."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from src.common.errors import InputError
from src.config.schedule import Stage, halvings, stages
from src.config.validation import validate
from src.encoders import checkpointing
from src.encoders.checkpointing import Checkpointing
from src.run import resume, run
from src.training.grouping import grouped
from src.training.memory import MemoryEstimate
from src.transfer.objective import build_objective
from src.transfer.scales import SimultaneousObjective, build_scales
from src.transfer.terms.base import Inputs, StyleImage
from src.transfer.terms.registry import STYLE_TERMS
from tests.support.pictures import smooth_image
from tests.support.prepare import prepare
from tests.support.runs import run_until

SCALES = ("schedule=simultaneous", "schedule.smallest=64", "edge=128")
EVERY_TERM = ("loss=patches", f"loss.terms=[{','.join(STYLE_TERMS)}]", "loss.tv=1", "loss.self_similarity=2")


def _area(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size, mode="area")


def _of_sizes(inputs: Inputs) -> list[Inputs]:
    """Return the inputs at 128 and 64 px, resized independently."""
    styles = tuple(StyleImage(_area(each.image, (32, 64)), each.weight) for each in inputs.styles)
    return [inputs, Inputs(_area(inputs.content, (48, 64)), styles)]


def test_the_loss_is_the_mean_over_sizes_of_terms_that_read_features(small: Callable) -> None:
    config = small(*SCALES, *EVERY_TERM, "precision=64", "loss.alpha=2", "loss.beta=3")
    prepared = prepare(small(*SCALES, "precision=64", "loss.self_similarity=2"))
    styles = [StyleImage(smooth_image(seed, 64, 128).double(), 0.5) for seed in (1, 2)]
    inputs = Inputs(smooth_image(0, 96, 128).double(), tuple(styles))
    image = smooth_image(3, 96, 128).double().requires_grad_()
    found = build_scales(config, prepared.encoder, inputs)(image)
    (gradient,) = torch.autograd.grad(found.total.sum(), image)
    alone = [
        build_objective(config, prepared.encoder, each)(picture)
        for each, picture in zip(_of_sizes(inputs), (image, _area(image, (48, 64))), strict=True)
    ]
    for name in ("content", "self_similarity", *STYLE_TERMS, "patches"):
        mean = sum(losses.terms[name].total for losses in alone) / 2
        torch.testing.assert_close(found.terms[name].total, mean, rtol=1e-12, atol=0)
    for name in ("palette", "tv"):  # of pixels: at full size alone
        torch.testing.assert_close(found.terms[name].total, alone[0].terms[name].total, rtol=1e-12, atol=0)
    weights = {"content": 2.0, "self_similarity": 4.0, "palette": 0.9, "tv": 1.0}
    total = sum(weights.get(name, 3.0) * value.total for name, value in found.terms.items())
    torch.testing.assert_close(found.total, total, rtol=1e-12, atol=0)
    (expected,) = torch.autograd.grad(
        sum(weights.get(name, 3.0) * losses.terms[name].total.sum() / (1 if name in ("palette", "tv") else 2)
            for losses in alone for name in losses.terms
            if losses is alone[0] or name not in ("palette", "tv")),
        image,
    )  # fmt: skip
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-14)


def test_one_size_is_the_plain_objective(small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    record = run(small("schedule=simultaneous", "edge=64"), tmp_path / "one")
    assert record.captures[-1].losses == run(small("edge=64"), tmp_path / "single").captures[-1].losses
    assert (tmp_path / "one/image.png").read_bytes() == (tmp_path / "single/image.png").read_bytes()
    assert "schedule=simultaneous: only 64 px: half of it is below schedule.smallest=500" in caplog.text


@pytest.mark.parametrize(
    ("edge", "smallest", "count"), [(356, 500, 0), (999, 500, 0), (1000, 500, 1), (2100, 500, 2), (356, 64, 2)]
)
def test_halving_stops_at_the_smallest_size(edge: int, smallest: int, count: int, small: Callable) -> None:
    config = small("schedule=simultaneous", f"schedule.smallest={smallest}", f"edge={edge}")
    assert halvings(config, edge) == count
    assert stages(config) == [Stage(edge, 0, config.steps)]
    assert halvings(small(f"edge={edge}"), edge) == 0


@pytest.mark.slow
def test_a_batch_equals_single_evaluations_with_their_searches(small: Callable) -> None:
    own = (("style=dots", "seed=1"), ("content=astronaut", "style=swell", "seed=2", "fit=squash"))
    terms = "loss.terms=[gram,wasserstein,sliced_wasserstein,nearest]"
    options = (*SCALES, "loss=patches", terms, "fit=squash", "precision=64")
    members = [prepare(small(*options, *each)) for each in own]
    for member in members:
        member.objective.search_again(7)
    images = torch.cat([smooth_image(seed, 128, 128).double() for seed in (0, 1)])
    batch = images.clone().requires_grad_()
    joined = members[0].objective.join([member.objective for member in members])
    assert isinstance(joined, SimultaneousObjective) and len(joined.smaller) == 1
    together = joined(batch)
    together.total.sum().backward()
    for index, member in enumerate(members):
        single = images[index : index + 1].clone().requires_grad_()
        alone = member.objective(single)
        alone.total.sum().backward()
        assert together.metrics()[index] == pytest.approx(alone.metrics()[0], rel=1e-8)
        torch.testing.assert_close(batch.grad[index : index + 1], single.grad, rtol=1e-6, atol=1e-11)


def test_bands_change_neither_the_losses_nor_the_gradient(small: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointing, "BAND_BYTES", 1)
    prepared = prepare(small(*SCALES, *EVERY_TERM, "precision=64"))
    results = []
    for strategy in (Checkpointing(), Checkpointing(2, True)):
        prepared.objective.checkpointing = strategy
        image = smooth_image(0, *prepared.inputs.content.shape[2:]).double().requires_grad_()
        losses = prepared.objective(image)
        losses.total.sum().backward()
        results.append((losses.metrics()[0], image.grad))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-9)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_run_lowers_the_loss_and_resumes_bit_for_bit(optimizer: str, small: Callable, tmp_path: Path) -> None:
    options = ("loss.terms=[sliced_wasserstein,nearest]", "loss.rematch=2", f"optimizer={optimizer}")
    config = small(*SCALES, *options, "steps=4", "captures=[4]")
    whole = run(config, tmp_path / "whole")
    assert whole.captures[-1].losses["total"] < 0.9 * (whole.initial_loss or 0)
    run_until(3, config, tmp_path / "stopped")
    assert resume(tmp_path / "stopped").captures[-1].losses == whole.captures[-1].losses
    assert (tmp_path / "stopped/image.png").read_bytes() == (tmp_path / "whole/image.png").read_bytes()


def test_bfloat16_and_a_smaller_stage_before(small: Callable, tmp_path: Path) -> None:
    rough, exact = (
        run(small(*SCALES, "schedule.sizes=2", "schedule.factor=2", f"precision={each}"), tmp_path / each)
        for each in ("bf16", "32")
    )
    assert rough.captures[-1].losses["total"] == pytest.approx(exact.captures[-1].losses["total"], rel=0.05)


def test_sizes_without_room_are_refused_in_one_line(small: Callable) -> None:
    config = small(*SCALES, "layers=e", "layers.content=relu5_1", "content=cat", "edge=1000", "style_scale=0.1")
    with pytest.raises(
        InputError, match=r"schedule.smallest=64 halves the style image to 12x9 px, but the selected layers need"
    ):
        prepare(config)
    with pytest.raises(InputError, match=r"schedule.smallest is 64 px or more"):
        validate(small("schedule=simultaneous", "schedule.smallest=63"))


def test_the_memory_estimate_counts_every_size_and_jobs_form_a_batch(small: Callable) -> None:
    encoder = prepare(small()).encoder
    one, several = (MemoryEstimate(small(*each), encoder, (128, 128), 0) for each in (("edge=128",), SCALES))
    assert several.areas == 1.25 and one.areas == 1
    assert several.peak(Checkpointing()) > one.peak(Checkpointing())
    jobs = [small(*SCALES, f"style={style}") for style in ("dots", "swell")]
    assert grouped(jobs, 8).together == [[0, 1]]


def test_room_is_checked_at_every_size_of_a_pyramid(small: Callable, tmp_path: Path) -> None:
    Image.new("RGB", (1000, 200), "teal").save(tmp_path / "wide.png")
    options = ("schedule=simultaneous", "schedule.sizes=2", "schedule.factor=1.667", "schedule.smallest=64")
    wide = (
        f"content.path={tmp_path / 'wide.png'}",
        f"style.path={tmp_path / 'wide.png'}",
        "style=file",
        "content=file",
    )
    with pytest.raises(InputError, match=r"schedule\.smallest=64 halves the content image to 75x15 px"):
        prepare(small(*options, *wide, "edge=1000", "layers=e", "layers.content=relu5_1"))
