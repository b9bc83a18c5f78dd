"""Continue a run beyond its end: in a new folder, with the optimiser's state, or a line that says what to do."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import InputError
from src.common.files import sole_writer
from src.config.composition import compose
from src.config.schedule import last_share, stages
from src.run import resume, resumed, run
from src.tracking import provenance
from src.tracking import record as records
from src.training.checkpoints import CHECKPOINT
from tests.conftest import SMALL
from tests.support.runs import metric_rows, run_until

# A learning rate that does not depend on the number of steps.
STEADY = ("logger=csv", "optimizer.decay=0", "captures=[2,8]", "loss.rematch=5")


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_continued_run_ends_as_one_of_all_steps(optimizer: str, small: Callable, tmp_path: Path) -> None:
    config = small(*STEADY, f"optimizer={optimizer}", "captures=[2]")
    run(config, tmp_path / "first")
    before = files(tmp_path / "first")
    record = resume(tmp_path / "first", {"steps": 11, "captures": [2, 8]})
    folder = tmp_path / "first-to-11"
    whole = run(small(*STEADY, f"optimizer={optimizer}", "steps=11"), tmp_path / "whole")
    assert (record.status, record.step, record.options.steps) == ("finished", 11, 11)
    assert (record.continued_from, record.continued_step) == (str(tmp_path / "first"), 6)
    assert (folder / "image.png").read_bytes() == (tmp_path / "whole/image.png").read_bytes()
    assert [each.losses for each in record.captures] == [each.losses for each in whole.captures]
    assert [each.step for each in record.captures] == [2, 8, 11]
    assert all((folder / each.file).is_file() for each in record.captures)
    assert record.evaluations == whole.evaluations and record.initial_loss == whole.initial_loss
    curves = [{row["step"]: row["loss/total"] for row in metric_rows(each)} for each in (folder, tmp_path / "whole")]
    for curve in curves:
        del curve["6"]  # of the earlier run's last capture, whose patches were matched anew
    assert curves[0] == curves[1], "the curve begins with the earlier run's"
    assert files(tmp_path / "first") == before, "the earlier run is left as it was"


def test_a_resumed_run_records_the_versions_it_ends_with(small: Callable, tmp_path: Path) -> None:
    run_until(3, small("steps=4"), tmp_path)
    record = records.read(tmp_path)
    assert record
    record.versions, record.commit, record.command = {"torch": "1.0"}, "before", "python -m src.train steps=4"
    record.write(tmp_path)
    ended = resume(tmp_path)
    assert (ended.versions, ended.commit) == (provenance.versions(), provenance.commit())
    assert ended.command == "python -m src.train steps=4"


def test_a_continued_run_can_be_interrupted_and_continued_again(small: Callable, tmp_path: Path) -> None:
    run_until(3, small(*STEADY, "steps=4", "captures=[2]"), tmp_path / "run")
    folder = tmp_path / "run-to-8"
    resume(tmp_path / "run", {"steps": 8})
    stopped = json.loads((folder / "record.json").read_text())
    assert stopped["continued_step"] == 3, "an interrupted run goes on from its last checkpoint"
    changed = (folder / "record.json").stat().st_mtime_ns
    assert resume(tmp_path / "run", {"steps": 8}).status == "finished"
    assert (folder / "record.json").stat().st_mtime_ns == changed, "the same command finds the run finished"
    again = resume(folder, {"steps": 10})
    assert again.continued_from == str(folder) and again.step == 10
    with pytest.raises(InputError, match=r"run-to-8 holds another run \(it differs in captures\)"):
        resume(tmp_path / "run", {"steps": 8, "captures": [3]})


def test_the_learning_rate_is_that_of_all_steps(small: Callable, tmp_path: Path) -> None:
    """With `optimizer.decay` it has fallen to zero at the first end, and is high again after it."""
    run(small("logger=csv"), tmp_path / "run")
    record = resume(tmp_path / "run", {"steps": 12})
    first = records.read(tmp_path / "run")
    assert first and record.captures[-1].losses["total"] < first.captures[-1].losses["total"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(compose([*SMALL]), folder)
    return folder


def edited(folder: Path, **fields: Any) -> None:
    """Change fields of a record file."""
    data = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**data, **fields}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 6, "captures": [1]}, "steps=6 is the total, and the run is already at step 6; give a larger number"),
        ({"steps": 3, "captures": [1]}, "steps=3 is the total, and the run is already at step 6"),
        ({"steps": 0}, "steps must be positive"),
        ({"steps": "abc"}, "steps"),
        (
            {"steps": 9, "edge": 60},
            r"edge cannot change in a run; to start from its picture, give init=file init.path=",
        ),
        ({"steps": 9, "captures": [10]}, r"captures: step 10 is not in 0..9"),
    ],
)
def test_what_cannot_be_continued_says_what_to_do(options: dict[str, Any], message: str, finished: Path) -> None:
    with pytest.raises(InputError, match=message):
        resume(finished, options)
    assert [path.name for path in finished.parent.iterdir()] == ["run"], "nothing is created"


def test_a_run_without_a_checkpoint_failed_or_in_use(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    with sole_writer(folder), pytest.raises(InputError, match="another process is using"):
        resume(folder, {"steps": 9})
    (folder / CHECKPOINT).unlink()
    with pytest.raises(InputError, match=r"has no last.ckpt .* give init=file init.path=.*image.png"):
        resume(folder, {"steps": 9})
    edited(folder, status="failed", error="a full disk")
    with pytest.raises(InputError, match=r"failed \(a full disk\); finish it first with resume="):
        resume(folder, {"steps": 9})


def test_a_pyramid_goes_on_at_full_size(small: Callable, tmp_path: Path) -> None:
    """As a run of all steps in which the smaller size takes as many of them."""
    pyramid = [*STEADY, "edge=96", "schedule=pyramid", "captures=[2]"]
    run(small(*pyramid, "steps=4"), tmp_path / "run")
    record = resume(tmp_path / "run", {"steps": 8})
    whole = run(small(*pyramid, "steps=8", "schedule.last=0.75"), tmp_path / "whole")
    assert record.options == whole.options and record.step == 8
    assert (tmp_path / "run-to-8/image.png").read_bytes() == (tmp_path / "whole/image.png").read_bytes()
    assert resume(tmp_path / "run", {"steps": 8}).started == record.started, "the same command finds the run finished"
    with pytest.raises(InputError, match="schedule cannot change in a run"):
        resume(tmp_path / "run", {"steps": 9, "schedule": {"last": 0.5, "carry": True}})


@pytest.mark.parametrize("last", [None, 0.5, 0.3])
def test_the_smaller_sizes_keep_their_steps(last: float | None) -> None:
    before = compose(["edge=356", "steps=150", f"schedule.last={'null' if last is None else last}"])
    after = compose(["edge=356", "steps=200", f"schedule.last={last_share(before, 200)!r}"])
    assert [(each.edge, each.first) for each in stages(after)] == [(each.edge, each.first) for each in stages(before)]
    assert last_share(before, 150) == last_share(before, 100) == last


def test_odd_numbers_of_steps_can_be_continued(small: Callable) -> None:
    config = small("edge=356", "schedule=pyramid")
    for steps in range(20, 200):
        before = replace(config, steps=steps)
        for more in (steps + 1, 2 * steps, 500, 1000):
            schedule = replace(config.schedule, last=last_share(before, more))
            after = stages(replace(config, steps=more, schedule=schedule))
            assert [each.first for each in after] == [each.first for each in stages(before)], (steps, more)


def test_a_pyramid_whose_sizes_would_change_is_refused(small: Callable, tmp_path: Path) -> None:
    run(small("edge=96", "schedule=pyramid", "steps=1"), tmp_path / "run")
    with pytest.raises(InputError, match=r"schedule=pyramid: .* give init=file init.path=.* schedule=single"):
        resume(tmp_path / "run", {"steps": 8})


def test_a_run_that_reached_its_loss_needs_another(small: Callable, tmp_path: Path) -> None:
    run(small("stop_at_loss=100"), tmp_path / "run")
    with pytest.raises(InputError, match=r"stopped at stop_at_loss=100.0; give stop_at_loss=null or less as well"):
        resume(tmp_path / "run", {"steps": 8})
    record = resume(tmp_path / "run", {"stop_at_loss": None, "steps": 4})
    assert record.stopped == "all steps taken" and record.step == 4


def test_a_run_that_reached_its_loss_as_full_size_began_continues(small: Callable, tmp_path: Path) -> None:
    options = (*STEADY, "loss=moments", "edge=96", "schedule=pyramid", "schedule.sizes=2", "steps=8")
    run(small(*options), tmp_path / "whole")
    run(small(*options, "stop_at_loss=1000"), tmp_path / "run")
    stopped = records.read(tmp_path / "run")
    assert stopped and (stopped.step, stopped.stopped) == (4, "loss reached")
    record = resume(tmp_path / "run", {"stop_at_loss": None, "steps": 9})
    assert (record.step, record.stopped) == (9, "all steps taken")
    curves = [
        {row["step"]: row["loss/total"] for row in metric_rows(tmp_path / each)} for each in ("run-to-9", "whole")
    ]
    assert curves[1].items() <= curves[0].items()


def test_a_changed_picture_is_refused(small: Callable, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    shutil.copy("src/assets/styles/dots.jpg", photo)
    run(small(f"content.path={photo}", "content=file"), tmp_path / "run")
    shutil.copy("src/assets/styles/swell.jpg", photo)
    with pytest.raises(InputError, match="has changed since this run began"):
        resume(tmp_path / "run", {"steps": 9})


def test_its_command_names_the_run_that_was_last(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a run"
    shutil.copytree(finished, folder)
    monkeypatch.setattr(provenance, "command", lambda: "python -m src.train resume=last steps=9")
    record = records.read(resumed(folder, {"steps": 9})[1])
    assert record and record.command == f"python -m src.train resume='{folder}' steps=9"


def test_the_command_continues_a_run(
    finished: Path, command_here: Callable, refused_here: Callable, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shown = command_here("src.train", f"resume={folder}", "steps=8", "logger=csv")
    assert f"continues {folder}" in shown and f"resuming at step 6 of 8 in {folder}-to-8" in shown
    assert "resuming at step 6" in (tmp_path / "run-to-8/train.log").read_text()
    assert (tmp_path / "run-to-8/config.yaml").read_text().count("steps: 8") == 1
    refused = refused_here("src.train", f"resume={folder}", "steps=9", "loss.beta=3")
    assert "loss.beta cannot be changed" in refused and "init=file init.path=DIR/image.png" in refused
