"""Checkpoints: one that cannot be used ends a resume with one line; others resume as if nothing had happened."""

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


# What a version with other parameters or another loop would leave behind, and a file that another program wrote.
DAMAGES: dict[str, Damage] = {
    "a newer format": lambda found: found.update(format=checkpoints.FORMAT + 1),
    "a parameter is missing": lambda found: found["state_dict"].pop("image.changes.0"),
    "a parameter has another shape": lambda found: found["state_dict"].update(
        {"image.changes.0": found["state_dict"]["image.changes.0"][..., 1:-1, 1:-1]}
    ),
    "no optimiser": lambda found: found.update(optimizer_states=[]),
    "no loops": lambda found: found.pop("loops"),
    "loops at another step": lambda found: found.update(step=4, global_step=4),
    "an unknown Lightning version": lambda found: found.update({"pytorch-lightning_version": "not a version"}),
    "an unknown counter": lambda found: found["counters"].update(unknown=1),
}


def _assert_one_line(folder: Path) -> None:
    before = (folder / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match=r"last\.ckpt cannot be used \(.+\); delete it to start this run") as caught:
        resume(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert (folder / CHECKPOINT).read_bytes() == before
    record = records.read(folder)
    assert record and record.status in ("failed", "interrupted")


def _changed(source: Path, folder: Path, change: Damage) -> Path:
    shutil.copytree(source, folder)
    checkpoint = torch.load(folder / CHECKPOINT, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, folder / CHECKPOINT)
    return folder


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_checkpoint_that_does_not_fit_is_one_line(damage: Damage, stopped: dict[str, Path], tmp_path: Path) -> None:
    _assert_one_line(_changed(stopped["adam"], tmp_path / "run", damage))


@pytest.mark.parametrize("size", [0, 4, 1000, -1])
def test_a_truncated_file_is_one_line(size: int, stopped: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(stopped["adam"], tmp_path / "run")
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:size])
    _assert_one_line(tmp_path / "run")


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_checkpoint_of_a_version_without_formats_resumes(
    optimizer: str, stopped: dict[str, Path], tmp_path: Path
) -> None:
    folder = _changed(stopped[optimizer], tmp_path / "run", lambda checkpoint: checkpoint.pop("format"))
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
