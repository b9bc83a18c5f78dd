"""Losses that jump: Adam's update is halved where the loss form asks for it, and what is left is reported."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from src.config.schema import RunConfig
from src.run import resume, run, run_batch
from src.training import loop
from tests.conftest import SMALL
from tests.support.configs import composed
from tests.support.runs import metric_rows, run_until

# Momentum carries the image past the minimum: the loss is 1.63 times higher at step 6.
STEEP = (
    *(*SMALL, "loss=moments", "canvas.space=pixel", "canvas.clamp=false", "content=coffee", "style=brushwork"),
    *("edge=64", "layers=e", "layers.content=relu3_1", "loss.beta=100", "loss.jump=1.2", "loss.block_weights=null"),
    *("optimizer.lr=0.2", "optimizer.betas=[0.9,0.5]", "optimizer.decay=0.5"),
    *("steps=8", "captures=[]", "log_every=1", "checkpoint_every=99", "logger=csv"),
)


def largest_rise(folder: Path) -> float:
    """Return the largest ratio of the losses of two steps in a row."""
    losses = [float(row["loss/total"]) for row in metric_rows(folder)]
    return max(after / before for before, after in pairwise(losses))


@pytest.fixture(scope="module")
def steep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that halves an update."""
    folder = tmp_path_factory.mktemp("steep") / "run"
    record = run(composed(STEEP), folder)
    assert record.evaluations > record.step and record.warning is None
    return folder


def test_an_update_that_makes_the_loss_jump_is_halved(steep: Path, tmp_path: Path) -> None:
    record = run(composed([*STEEP, "loss.jump=0"]), tmp_path)
    assert largest_rise(tmp_path) > 1.5 and record.evaluations == record.step
    assert record.warning and "jumped from " in record.warning and " at step 6; try" in record.warning
    assert largest_rise(steep) < 1.25


def test_a_run_that_is_interrupted_before_the_jump_ends_alike(steep: Path, tmp_path: Path) -> None:
    """The checkpoint has the image and the loss before the update, which is not yet evaluated."""
    run_until(6, composed(STEEP), tmp_path / "run")
    resume(tmp_path / "run")
    assert (tmp_path / "run/image.png").read_bytes() == (steep / "image.png").read_bytes()
    rows = [[row["loss/total"] for row in metric_rows(each)] for each in (tmp_path / "run", steep)]
    assert rows[0] == rows[1]


def test_how_often_a_gpu_logs_changes_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU tests the loss every few steps; losses that are read in between for the log are not tested."""
    timetable_of = loop.timetable_of
    monkeypatch.setattr(loop, "timetable_of", lambda *given: dataclasses.replace(timetable_of(*given), chunk=2))
    for every in (1, 8):
        record = run(composed([*STEEP, f"log_every={every}"]), tmp_path / str(every))
        assert record.evaluations > record.step, "an update is halved"
    assert (tmp_path / "1/image.png").read_bytes() == (tmp_path / "8/image.png").read_bytes()


def test_a_jump_before_an_interruption_is_reported_at_the_end(tmp_path: Path) -> None:
    run_until(7, composed([*STEEP, "loss.jump=0"]), tmp_path)
    warning = resume(tmp_path).warning
    assert warning and "jumped from " in warning and " at step 6; try" in warning


def test_losses_before_and_after_a_new_search_are_not_compared(tmp_path: Path) -> None:
    """Each step draws other directions, by which the loss of an image that hardly changes rises every other time."""
    options = ("loss.terms=[sliced_wasserstein]", "loss.rematch=1", "loss.jump=1", "optimizer.lr=1e-9", "steps=20")
    record = run(composed([*STEEP, *options]), tmp_path)
    losses = [float(row["loss/total"]) for row in metric_rows(tmp_path)]
    assert any(after > before for before, after in pairwise(losses))
    assert record.evaluations == record.step == 20 and record.warning is None


def test_a_run_of_a_batch_halves_its_own_updates(steep: Path, tmp_path: Path) -> None:
    jobs = [(composed([*STEEP, f"loss.beta={beta}"]), tmp_path / str(beta)) for beta in (100, 1)]
    steeper, other = run_batch(jobs)
    alone = run(jobs[1][0], tmp_path / "alone")
    assert not isinstance(steeper, BaseException) and not isinstance(other, BaseException)
    assert steeper.evaluations > steeper.step and other.evaluations == alone.evaluations
    for batched, single in (("100", steep), ("1", tmp_path / "alone")):
        assert (tmp_path / batched / "image.png").read_bytes() == (single / "image.png").read_bytes()


def test_the_papers_forms_take_every_update_as_it_is() -> None:
    for overrides in (["experiment=paper"], ["loss=equations"], ["loss=normalized"], ["loss=published"]):
        assert composed(overrides).loss.jump == 0
    assert composed().loss.jump == composed(["loss=moments"]).loss.jump == RunConfig().loss.jump == 1.5


def test_a_loss_that_ends_above_its_start_is_reported(small: Callable, tmp_path: Path) -> None:
    config = small("steps=1", "init=style", "loss.alpha=0", "loss=normalized", "optimizer.lr=0.3", "optimizer.rise=0")
    record = run(config, tmp_path)
    assert record.warning and record.warning.startswith("the loss ended above its start (")
    assert record.summary()["warning"] == record.warning


def test_losses_that_grow_with_size_are_not_compared_across_sizes(small: Callable, tmp_path: Path) -> None:
    """The published style loss squares sums over positions: it is sixteen times as large at twice the edge."""
    options = ("loss=published", "edge=160", "schedule=pyramid", "schedule.sizes=2", "schedule.factor=2")
    record = run(small(*options, "steps=2", "optimizer.lr=1e-6"), tmp_path / "pyramid")
    assert (record.initial_loss or 0) < record.captures[-1].losses["total"]
    assert record.warning is None and record.loss_decay is None
    single = run(small("loss=published", "steps=2", "optimizer.lr=1e-6"), tmp_path / "single")
    assert single.loss_decay == pytest.approx(1, abs=0.1)
