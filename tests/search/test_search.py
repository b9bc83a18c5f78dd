"""Tests of the search: its space, its study through failures, interruptions and kills, and its front."""

import csv
import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from src.common.errors import InputError, Interrupted, NonFiniteLoss, SweepFailed
from src.config.composition import compose
from src.config.identity import identity
from src.config.schema import RunConfig, run_part, typed
from src.search import space, study
from src.search.config import SearchConfig, Space, check, study_name
from src.search.front import FRONT, Point, front_csv, front_table
from src.tracking import names as keys
from src.tracking import record as records
from src.tracking.record import RunRecord
from tests.conftest import SMALL
from tests.support.configs import by_hydra
from tests.support.examples import example_record
from tests.support.processes import started, wait_for


@pytest.fixture
def config() -> SearchConfig:
    """The default search."""
    return compose_search()


def compose_search(*overrides: str) -> SearchConfig:
    return typed(by_hydra("search", SearchConfig, overrides), SearchConfig)


class Painter:
    """Stands in for `run`: invented measurements, closer to the style the larger beta is, and errors to raise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.record = example_record()
        self.runs: list[tuple[RunConfig, Path]] = []
        self.errors: dict[int, BaseException] = {}
        monkeypatch.setattr(study, "run", self)

    def __call__(self, config: RunConfig, folder: Path) -> RunRecord:
        self.runs.append((config, folder))
        if error := self.errors.get(len(self.runs) - 1):
            raise error
        beta = config.loss.beta
        return dataclasses.replace(self.record, patch_distance=1 / (1 + beta), ssim=1 / (1 + beta / 10))

    @property
    def betas(self) -> list[float]:
        return [config.loss.beta for config, _ in self.runs]


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Painter:
    return Painter(monkeypatch)


def _load(folder: Path) -> "optuna.Study":
    return optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / study.DATABASE}")


def _states(folder: Path) -> list[str]:
    return [trial.state.name for trial in _load(folder).trials]


def test_a_search_starts_from_the_run_of_the_same_options() -> None:
    overrides = ["content=cat", "style=dots", "layers=c", "edge=96"]
    assert run_part(compose_search(*overrides)) == compose(overrides)
    assert identity(run_part(compose_search("experiment=demo"))) == identity(compose(["experiment=demo"]))


def test_a_point_of_the_space_is_a_run(config: SearchConfig) -> None:
    taps = config.layers.style
    assert list(space.ranges(config)) == [
        "loss.beta", "optimizer.lr", *(f"layers.weights/{tap}" for tap in taps)
    ], "loss.alpha is fixed: only its ratio to loss.beta matters"  # fmt: skip
    point = space.default_point(config)
    given = space.options(config, point)
    assert given.pop("layers.weights") == pytest.approx([1 / 11.5, 1 / 11.5, 6 / 11.5, 3 / 11.5, 0.5 / 11.5])
    assert given == {"loss.beta": 10.0, "optimizer.lr": 0.02}, "the first trial is the run as given"
    point |= {"loss.beta": 3.5, "layers.weights/relu1_1": 19.0}
    found = space.trial_run(config, space.options(config, point), "mine", 7)
    assert found.layers.weights == pytest.approx([19 / 29.5, 1 / 29.5, 6 / 29.5, 3 / 29.5, 0.5 / 29.5]), (
        "the sum of the weights stays"
    )
    assert (found.loss.beta, found.loss.alpha, found.study, found.trial) == (3.5, 1.0, "mine", 7)
    assert identity(found) == identity(compose(["loss.beta=3.5", f"layers.weights={found.layers.weights}"]))

    one = compose_search("layers=a", "space.lr=[0.1,0.2]")
    assert list(space.ranges(one)) == ["loss.beta", "optimizer.lr"]
    with pytest.raises(
        InputError, match=r"optimizer\.lr=0\.02 is outside space\.lr=\[0\.1,0\.2\]; give another range, or"
    ):
        space.default_point(one)
    published = compose_search("loss=published", "backbone=vgg19", "space.beta=[0.001,1]")
    assert sum(space.options(published, space.default_point(published))["layers.weights"]) == pytest.approx(5)


def test_trials_are_counted_and_the_front_is_written(
    config: SearchConfig, painter: Painter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config.trials = 4
    with caplog.at_level("INFO"):
        points = study.search(config, tmp_path)
    assert caplog.messages[-1] == f"report: python -m src.report {tmp_path}"
    assert painter.betas[0] == config.loss.beta == 10 and len(set(painter.betas)) == 4
    assert [folder.name for _, folder in painter.runs] == [f"trial-{number:04d}" for number in range(4)]
    assert [point.options["loss.beta"] for point in points] == sorted(painter.betas, reverse=True)
    with (tmp_path / FRONT).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row[keys.PATCH_DISTANCE]) for row in rows] == [1 / (1 + float(row["loss.beta"])) for row in rows]
    assert len(rows) == 4 and float(rows[0]["loss.beta"]) == max(painter.betas), "all digits are written"

    study.search(config, tmp_path)
    assert len(painter.runs) == 4, "the study is complete"
    config.trials = 5
    study.search(config, tmp_path)
    assert len(painter.runs) == 5


def test_a_continued_study_proposes_the_same_trials_as_an_uninterrupted_one(
    config: SearchConfig, painter: Painter, tmp_path: Path
) -> None:
    config.trials = 13  # more than the first ten, which are drawn at random
    study.search(config, tmp_path / "whole")
    whole, painter.runs = painter.betas, []
    for config.trials in (5, 12, 13):
        study.search(config, tmp_path / "parts")
    assert painter.betas == whole


def test_an_interruption_does_not_change_the_trials_that_follow(
    config: SearchConfig, painter: Painter, tmp_path: Path
) -> None:
    config.trials = 13
    study.search(config, tmp_path / "whole")
    whole, painter.runs, painter.errors = painter.betas, [], {3: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        study.search(config, tmp_path / "stopped")
    study.search(config, tmp_path / "stopped")
    assert painter.betas == [*whole[:4], *whole[3:]]


def test_failed_trials_count_and_do_not_stop_the_study(config: SearchConfig, painter: Painter, tmp_path: Path) -> None:
    painter.errors = {1: NonFiniteLoss("the loss was not finite"), 2: InputError("the disk is full")}
    config.trials = 4
    points = study.search(config, tmp_path)
    assert _states(tmp_path) == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    assert {point.trial for point in points} == {0, 3}

    painter.runs, painter.errors = [], {number: RuntimeError("no") for number in range(9)}
    with pytest.raises(SweepFailed, match="none of 4 trials finished; the last: no"):
        study.search(config, tmp_path / "other")
    painter.runs, painter.errors = [], {0: InputError("no such file")}
    with pytest.raises(InputError, match="no such file"):  # would fail every trial: reported at once, not counted
        study.search(config, tmp_path / "third")
    assert len(painter.runs) == 1
    study.search(config, tmp_path / "third")
    assert len(painter.runs) == 5 and painter.betas[:2] == [10.0, 10.0]


def test_an_interrupted_trial_is_continued_and_does_not_count(
    config: SearchConfig, painter: Painter, tmp_path: Path
) -> None:
    config.trials = 3
    painter.errors = {1: Interrupted(signal.SIGINT, "resume=..."), 2: KeyboardInterrupt()}
    with pytest.raises(Interrupted) as caught:
        study.search(config, tmp_path)
    assert caught.value.resume_hint == "run the same command again" and caught.value.exit_status == 130
    with pytest.raises(KeyboardInterrupt):
        study.search(config, tmp_path)
    study.search(config, tmp_path)
    assert _states(tmp_path) == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    folders = [folder.name for _, folder in painter.runs]
    assert folders == ["trial-0000", "trial-0001", "trial-0001", "trial-0001", "trial-0004"]
    assert painter.betas[1] == painter.betas[2] == painter.betas[3], "the run that its checkpoint belongs to"


def _killed(config: SearchConfig, folder: Path) -> None:
    """Leave a trial behind as a kill does: proposed, without a result."""
    trial = _load(folder).ask()
    for name, bounds in space.ranges(config).items():
        trial.suggest_float(name, *bounds, log=True)


def test_a_trial_that_is_killed_twice_is_not_run_again(config: SearchConfig, painter: Painter, tmp_path: Path) -> None:
    config.trials = 1
    study.search(config, tmp_path)
    _killed(config, tmp_path)
    config.trials = 3
    painter.errors = {1: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        study.search(config, tmp_path)
    assert painter.runs[1][1].name == "trial-0001", "continued after the first kill"
    _killed(config, tmp_path)
    study.search(config, tmp_path)
    assert [folder.name for _, folder in painter.runs[2:]] == ["trial-0004", "trial-0005"]
    assert _states(tmp_path) == ["COMPLETE", "FAIL", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]


def test_another_study_in_the_same_folder_is_refused(config: SearchConfig, painter: Painter, tmp_path: Path) -> None:
    config.trials = 1
    study.search(config, tmp_path)
    config.space.beta, config.edge = [2.0, 30.0], 96
    with pytest.raises(InputError, match=r"holds another study \(it differs in edge, space\); study=NAME"):
        study.search(config, tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / study.DATABASE).write_text("no database, however long it is" * 99)
    with pytest.raises(InputError, match="cannot be used as the database of a study"):
        study.search(config, tmp_path / "broken")


def test_the_name_of_a_study_depends_on_its_run_and_ranges(config: SearchConfig) -> None:
    name = study_name(config)
    assert name.startswith("astronaut-brushwork-e-")
    config.trials, config.logger.name = 99, "none"
    assert study_name(config) == name
    config.space.lr = None
    assert study_name(config) != name
    config.study = "mine"
    assert study_name(config) == "mine"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trials=0"], "trials must be positive, not 0"),
        (["space.beta=[3,1]"], r"space.beta takes a lowest and a highest value above 0, as in \[0.1,10\], not"),
        (["space.lr=[0,1]"], "space.lr takes a lowest"),
        ([f"space.{name}=null" for name in vars(Space())], "nothing to search"),
        (["resume=last"], "takes no resume="),
        (["study=a/b"], "without /"),
        (["edge=0"], "edge must be positive"),
        (["layers.style=[relu1_1,relu9_9]"], "relu9_9"),
    ],
)
def test_bad_options_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(compose_search(*overrides))


def test_the_table_of_the_front() -> None:
    objectives = {keys.PATCH_DISTANCE: 0.123456789, keys.SSIM: 0.5}
    points = [Point(3, Path("x/trial-0003"), {"loss.beta": 12.3456, "layers.weights": [0.25, 0.75]}, objectives)]
    head, line = front_table(points).splitlines()
    assert head.split() == ["trial", "patch", "distance", "SSIM", "loss.beta", "layers.weights", "folder"]
    assert line.split() == ["3", "0.123", "0.500", "12.3", "[0.250,0.750]", "trial-0003"]
    assert front_csv(points).splitlines()[1] == '3,0.123456789,0.5,12.3456,"[0.25,0.75]",trial-0003'


def test_help_and_errors_of_the_command(
    command_here: Callable[..., str], refused_here: Callable[..., str], tmp_path: Path
) -> None:
    shown = command_here("src.search.__main__", "--help")
    assert "trials=20" in shown and "space.beta=[1.0,100.0]" in shown and "optimizer.lr" in shown
    refused = refused_here("src.search.__main__", "space.gamma=1")
    assert refused.startswith("error: there is no option space.gamma") and "space.beta" in refused
    refused = refused_here("src.search.__main__", "trials=0", f"hydra.run.dir={tmp_path}")
    assert refused == "error: trials must be positive, not 0\n"


@pytest.mark.long
def test_a_killed_and_interrupted_study_is_continued_by_the_same_command(
    command_here: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    arguments = (*SMALL, "logger=csv", "edge=96", "steps=40", "checkpoint_every=5", "captures=[5]", "trials=2",
                 "study=mine", f"hydra.run.dir={folder}")  # fmt: skip
    with started(*arguments, module="src.search") as process:
        wait_for((folder / "trial-0000/last.ckpt").exists, process)
        process.kill()
        process.join()
    assert _states(folder) == ["RUNNING"]
    with started(*arguments, module="src.search") as process:
        wait_for(lambda: "resuming at step" in (folder / "trial-0000/train.log").read_text(), process)
        process.send_signal(signal.SIGINT)
        done = process.finish()
    assert done.returncode == 130, done
    output = done.stdout + done.stderr
    assert "interrupted; to resume: run the same command again" in output and "Traceback" not in output
    assert _states(folder) == ["FAIL", "FAIL", "WAITING"], "neither trial counts"

    output = command_here("src.search.__main__", *arguments)
    assert "[1/2] trial 0" in output and "[2/2] trial 3" in output
    assert _states(folder) == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    runs = {path.name: record for path, record in records.scan(folder)}
    assert sorted(runs) == ["trial-0000", "trial-0003"]
    assert all(record.status == "finished" and record.options.study == "mine" for record in runs.values())
    assert [runs[name].options.trial for name in sorted(runs)] == [0, 3]
    with (folder / FRONT).open(newline="") as file:
        front = list(csv.DictReader(file))
    assert front and all(row["folder"] in output for row in front)
    for row in front:
        record = runs[row["folder"]]
        assert [float(row[name]) for name in (keys.PATCH_DISTANCE, keys.SSIM, "loss.beta", "optimizer.lr")] == [
            record.patch_distance, record.ssim, record.options.loss.beta, record.options.optimizer.lr
        ]  # fmt: skip
    assert runs["trial-0003"].config["layers"]["weights"] is not None
