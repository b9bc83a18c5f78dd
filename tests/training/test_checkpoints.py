"""Checkpoints: a damaged one ends a resume with one line that says what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.common.errors import InputError
from src.config.composition import compose
from src.run import resume, run
from src.tracking import record as records
from src.training import checkpoints
from src.training.checkpoints import CHECKPOINT
from tests.conftest import SMALL
from tests.support.runs import metric_rows, run_until

Damage = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a run by optimiser, each interrupted at step 3 of 6."""
    folders = {}
    for optimizer in ("adam", "lbfgs"):
        folders[optimizer] = tmp_path_factory.mktemp(optimizer) / "run"
        run_until(3, compose([*SMALL, f"optimizer={optimizer}", "trainer.kernels=off"]), folders[optimizer])
    return folders


def _state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return checkpoint["optimizer_states"][0]["state"]


def _group(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return checkpoint["optimizer_states"][0]["param_groups"][0]


def _patches(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return checkpoint["search"]["patches"]


ENTRIES = (
    *("global_step", "step", "state_dict", "optimizer_states", "loops", "counters", "search"),
    "pytorch-lightning_version",
)
DAMAGES: dict[str, Damage] = {
    **{f"no {entry}": lambda found, entry=entry: found.pop(entry) for entry in ENTRIES},
    **{f"{entry} is None": lambda found, entry=entry: found.update({entry: None}) for entry in ENTRIES},
    **{f"{entry} is a text": lambda found, entry=entry: found.update({entry: "3"}) for entry in ENTRIES[:-1]},
    **{f"{entry} is empty": lambda found, entry=entry: found[entry].clear() for entry in ENTRIES[2:6]},
    "a step after the last": lambda found: found.update(step=99),
    "a negative step": lambda found: found.update(step=-3),
    "another global step": lambda found: found.update(global_step=1),
    "an unknown Lightning version": lambda found: found.update({"pytorch-lightning_version": "not a version"}),
    "a parameter is missing": lambda found: found["state_dict"].pop("image.changes.0"),
    "a parameter has another shape": lambda found: found["state_dict"].update(
        {"image.changes.0": found["state_dict"]["image.changes.0"][..., 1:-1, 1:-1]}
    ),
    "a parameter has two samples": lambda found: found["state_dict"].update(
        {"image.changes.0": found["state_dict"]["image.changes.0"].repeat(2, 1, 1, 1)}
    ),
    "a parameter holds integers": lambda found: found["state_dict"].update(
        {"image.changes.0": found["state_dict"]["image.changes.0"].long()}
    ),
    "a parameter is a list": lambda found: found["state_dict"].update({"image.changes.0": [1.0]}),
    "no optimiser": lambda found: found.update(optimizer_states=[]),
    "two optimisers": lambda found: found["optimizer_states"].append(found["optimizer_states"][0]),
    "the optimiser's state is empty": lambda found: _state(found).clear(),
    "the optimiser's state is a list": lambda found: found["optimizer_states"][0].update(state=[]),
    "moments of one parameter are missing": lambda found: _state(found).pop(1),
    "a moment is missing": lambda found: _state(found)[0].pop("exp_avg"),
    "a moment has another shape": lambda found: _state(found)[0].update(exp_avg=torch.zeros(1, 1, 5, 5)),
    "a moment is a number": lambda found: _state(found)[0].update(exp_avg_sq=1.0),
    "Adam's step is a text": lambda found: _state(found)[0].update(step="3"),
    "no parameter groups": lambda found: found["optimizer_states"][0].update(param_groups=[]),
    "a learning rate that is a text": lambda found: _group(found).update(lr="fast"),
    "betas that are a number": lambda found: _group(found).update(betas=0.9),
    "parameters that are not there": lambda found: _group(found).update(params=[0, 7]),
    "evaluations that are a text": lambda found: found["counters"].update(evaluations="3"),
    "seconds that are None": lambda found: found["counters"].update(seconds=None),
    "an initial loss that is a text": lambda found: found["counters"].update(initial_loss="high"),
    "a jump that is a number": lambda found: found["counters"].update(jumped=3),
    "an unknown counter": lambda found: found["counters"].update(unknown=1),
    "no throughput": lambda found: found["counters"].pop("throughput"),
    "an unknown rate": lambda found: found["counters"]["throughput"].update(unknown=1),
    "a parameter group that is a number": lambda found: found["optimizer_states"][0].update(param_groups=[1]),
    "loops at another step": lambda found: found.update(step=4, global_step=4),
    "loops of another kind": lambda found: found["loops"].update(fit_loop={"state_dict": 3}),
    "patch numbers that are a list": lambda found: _patches(found).update(relu2_1=[1, 2]),
    "patch numbers that are fractions": lambda found: _patches(found).update(relu2_1=torch.rand(1, 49)),
    "patch numbers out of range": lambda found: _patches(found)["relu2_1"].fill_(10**9),
    "negative patch numbers": lambda found: _patches(found)["relu2_1"].fill_(-1),
    "too few patch numbers": lambda found: _patches(found).update(relu2_1=_patches(found)["relu2_1"][:, :5]),
    "patches of an unknown layer": lambda found: _patches(found).update(relu9_9=_patches(found)["relu2_1"]),
    "an earlier image of another shape": lambda found: found["before"]["image"].update(
        {"changes.0": torch.zeros(1, 3, 5, 5)}
    ),
    "an earlier image that is a list": lambda found: found["before"].update(image=[1.0]),
    "an earlier loss that is a text": lambda found: found["before"].update(loss="high"),
    "a search of an unknown term": lambda found: found["search"].update(unknown=_patches(found)),
}
LBFGS_DAMAGES: dict[str, Damage] = {
    "the state is empty": lambda found: _state(found)[0].clear(),
    "the direction is missing": lambda found: _state(found)[0].pop("d"),
    "the direction has another length": lambda found: _state(found)[0].update(d=torch.zeros(5)),
    "the history has another length": lambda found: _state(found)[0].update(old_dirs=[torch.zeros(5)]),
    "the history is not a list": lambda found: _state(found)[0].update(old_dirs=3),
    "a product of the history is a text": lambda found: _state(found)[0].update(ro=["1"]),
    "the iterations are a text": lambda found: _state(found)[0].update(n_iter="3"),
}


def _assert_one_line(folder: Path, use: Callable[[Path], object] = resume) -> None:
    before = (folder / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match=r"last\.ckpt cannot be used \(.+\); delete it to start this run") as caught:
        use(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert (folder / CHECKPOINT).read_bytes() == before
    record = records.read(folder)
    assert record and record.status in ("failed", "interrupted")


def _damaged(source: Path, folder: Path, damage: Damage) -> Path:
    shutil.copytree(source, folder)
    checkpoint = torch.load(folder / CHECKPOINT, weights_only=True)
    damage(checkpoint)
    torch.save(checkpoint, folder / CHECKPOINT)
    return folder


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_one_line(damage: Damage, stopped: dict[str, Path], tmp_path: Path) -> None:
    """Most damages are found when the file is read, the first thing that a resume does; the others by the resume."""
    folder = _damaged(stopped["adam"], tmp_path / "run", damage)
    try:
        checkpoints.read(folder, 6)
    except InputError:
        _assert_one_line(folder, lambda folder: checkpoints.read(folder, 6))
    else:
        _assert_one_line(folder)


@pytest.mark.parametrize("damage", LBFGS_DAMAGES.values(), ids=LBFGS_DAMAGES.keys())
def test_a_damaged_checkpoint_of_lbfgs_is_one_line(damage: Damage, stopped: dict[str, Path], tmp_path: Path) -> None:
    _assert_one_line(_damaged(stopped["lbfgs"], tmp_path / "run", damage))


@pytest.mark.parametrize(("folder", "other"), [("adam", "lbfgs"), ("lbfgs", "adam")])
def test_a_checkpoint_of_another_optimiser_is_one_line(
    folder: str, other: str, stopped: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(stopped[folder], tmp_path / "run")
    shutil.copy(stopped[other] / CHECKPOINT, tmp_path / "run" / CHECKPOINT)
    _assert_one_line(tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_file_that_torch_cannot_read_is_one_line(content: bytes, stopped: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(stopped["adam"], tmp_path / "run")
    (tmp_path / "run" / CHECKPOINT).write_bytes(content)
    _assert_one_line(tmp_path / "run")


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_an_undamaged_checkpoint_resumes(optimizer: str, stopped: dict[str, Path], tmp_path: Path) -> None:
    folder = _damaged(stopped[optimizer], tmp_path / "run", lambda checkpoint: None)
    record = resume(folder)
    assert record.status == "finished" and record.step == 6


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_run_interrupted_at_any_step_ends_as_an_uninterrupted_one(
    optimizer: str, small: Callable, tmp_path: Path
) -> None:
    """Patches are searched again at step 3; L-BFGS's cached evaluation is lost with each process and not counted."""
    config = small(f"optimizer={optimizer}", "loss.rematch=3", "captures=[6]", "logger=csv")
    whole = run(config, tmp_path / "whole")
    for step in range(1, 6):
        folder = tmp_path / str(step)
        run_until(step, config, folder)
        resumed = resume(folder)
        assert resumed.evaluations == whole.evaluations
        assert resumed.captures[-1].losses == whole.captures[-1].losses
        assert (folder / "image.png").read_bytes() == (tmp_path / "whole/image.png").read_bytes()
        rows = [{row["step"]: row["loss/total"] for row in metric_rows(each)} for each in (folder, tmp_path / "whole")]
        assert rows[0] == rows[1]
        assert [each.name for each in (folder / "captures").iterdir()] == ["step_000006.png"]
