"""Training of networks: what is written, and what is refused when a training resumes."""

import dataclasses
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import safetensors.torch
import torch
from torch import nn

from src.common.errors import InputError, NonFiniteLoss
from src.common.signals import Interrupts
from src.data.folders import find_pictures
from src.tracking.loggers import RunLoggers
from src.tracking.training_record import TrainingRecord
from src.training.networks import NetworkModule, _Watch, check_pictures, holds_result, open_record, write_weights
from tests.support.photographs import write_photographs


@dataclasses.dataclass(kw_only=True)
class _Record(TrainingRecord):
    file: ClassVar[str] = "training.json"
    kind: ClassVar[str] = "a training"


@dataclasses.dataclass
class _Group:
    old: int = 1
    newer: float = 0.5


@dataclasses.dataclass
class _Options:
    group: _Group = dataclasses.field(default_factory=_Group)
    steps: int = 3


def test_an_option_of_a_group_that_is_newer_than_the_record_had_its_default(tmp_path: Path) -> None:
    record = _Record(config={"group": {"old": 1, "gone": 2}, "steps": 3})
    record.write(tmp_path)

    def opened(options: _Options) -> _Record:
        return open_record(options, tmp_path, _Record, (), "net.safetensors")

    assert opened(_Options()) == record
    for other in (_Options(_Group(newer=1.0)), _Options(_Group(old=2))):
        with pytest.raises(InputError, match=r"holds another training \(it differs in group\)"):
            opened(other)


def test_weights_are_the_result_once_the_record_holds_their_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, record = tmp_path / "net.safetensors", _Record(config={})
    written_before = []
    monkeypatch.setattr(_Record, "write", lambda self, folder: written_before.append(path.is_file()))
    write_weights(path, {"weight": torch.ones(2)}, record)
    assert written_before == [True], "the weights first: a kill in between leaves a record that does not know them"
    monkeypatch.undo()
    assert holds_result(path, record) and not holds_result(path, _Record(config={}))
    write_weights(path, {"weight": torch.zeros(2)}, record)
    assert json.loads((tmp_path / _Record.file).read_text())["weights_sha256"] == record.weights_sha256
    assert record.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(safetensors.torch.save({"weight": torch.ones(3)}))
    assert not holds_result(path, record)
    path.unlink()
    assert not holds_result(path, record)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6], ids=["nan", "infinite", "above float16"])
def test_weights_that_are_not_finite_are_not_written(value: float, tmp_path: Path) -> None:
    record = _Record(config={})
    with pytest.raises(NonFiniteLoss, match="the weights last are not finite in float16"):
        write_weights(tmp_path / "net", {"first": torch.ones(2), "last": torch.tensor([0.0, value])}, record)
    assert list(tmp_path.iterdir()) == [] and record.weights_sha256 is None


class _Stepped(NetworkModule):
    global_step = 1


@pytest.mark.parametrize(("loss", "weight"), [(float("nan"), 0.0), (1.0, float("inf"))])
def test_a_checkpoint_of_values_that_are_not_finite_is_not_saved(loss: float, weight: float, tmp_path: Path) -> None:
    options = SimpleNamespace(steps=9, log_every=5, checkpoint_every=1)
    module = _Stepped(options)  # type: ignore[arg-type]
    module.batches += 1
    module.weight = nn.Parameter(torch.tensor([weight]))
    module.latest = {"train/loss": torch.tensor(loss)}
    watch = _Watch(tmp_path, _Record(config={}), RunLoggers(), -1, Interrupts())
    saved: list[Path] = []
    trainer = SimpleNamespace(should_stop=False, save_checkpoint=lambda path, **_: saved.append(path))
    with pytest.raises(NonFiniteLoss, match="not finite at step 1"):
        watch.on_train_batch_end(trainer, module)  # type: ignore[arg-type]
    assert not saved
    with torch.no_grad():
        module.weight.zero_()
    module.latest = {"train/loss": torch.tensor(1.0)}
    watch.on_train_batch_end(trainer, module)  # type: ignore[arg-type]
    assert len(saved) == 1


def test_the_number_of_batches_is_kept_by_checkpoints_and_read_from_those_of_earlier_versions() -> None:
    module = _Stepped(SimpleNamespace())  # type: ignore[arg-type]
    module.batches = 3
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    for saved in (checkpoint, {"state_dict": {"batches": torch.tensor(3)}}):
        resumed = _Stepped(SimpleNamespace())  # type: ignore[arg-type]
        resumed.on_load_checkpoint(saved)
        resumed.load_state_dict(saved["state_dict"])
        assert resumed.batches == 3 and isinstance(resumed.batches, int)


def test_pictures_that_changed_since_the_beginning_are_refused(tmp_path: Path) -> None:
    folder, record = write_photographs(tmp_path / "photographs", 3), _Record(config={})
    (folder / "unreadable.png").symlink_to(folder)  # left out of the training, with a warning
    paths = [*find_pictures(folder), folder / "unreadable.png"]
    check_pictures(record, paths, str(folder))
    begun = record.pictures_sha256
    assert begun is not None and len(begun) == 64
    check_pictures(record, paths, str(folder))
    with pytest.raises(
        InputError, match=rf"the pictures in images={folder} are not those that this training began with"
    ):
        check_pictures(record, paths[1:], str(folder))
    renamed = [paths[0].rename(folder / "00.png"), *paths[1:]]
    with pytest.raises(InputError, match="are not those"):
        check_pictures(record, renamed, str(folder))
    renamed[0].rename(paths[0])
    check_pictures(record, paths, str(folder))
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(InputError, match="are not those"):
        check_pictures(record, paths, str(folder))
    assert record.pictures_sha256 == begun
