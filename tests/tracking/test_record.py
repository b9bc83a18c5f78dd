"""Records: what is written is read back, and what is damaged is refused in one line."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import InputError
from src.config.identity import identity, run_name
from src.config.schema import Loss, RunConfig, plain, typed
from src.run import resumed
from src.tracking import record as records
from src.tracking.record import Capture, RunRecord
from src.training.context import RunContext


def example(**fields: Any) -> RunRecord:
    """Return the record of a run of the default configuration."""
    losses = {"total": 3.5, "content": 1.0, "style/relu1_1": 0.25}
    captures = [Capture(20, losses, "captures/step_000020.png", ssim=0.5, seconds=1.5)]
    return RunRecord(**{"status": "finished", "config": plain(RunConfig()), "captures": captures, **fields})


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the record file of a folder as JSON."""
    data = json.loads((folder / records.FILE).read_text())
    edit(data)
    (folder / records.FILE).write_text(json.dumps(data))


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = example(ssim=0.1 + 0.2, memory={"356": {"strategy": "whole"}}, judge="vgg16 random")
    written.write(tmp_path)
    found = records.read(tmp_path)
    assert found == written and found is not None and found.options == RunConfig()
    assert records.read(tmp_path / "elsewhere") is None


def test_losses_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    record = example(initial_loss=math.inf)
    record.captures[0].losses["total"] = math.nan
    record.write(tmp_path)
    found = records.read(tmp_path)
    assert found and found.initial_loss is None
    assert found.captures[0].losses == {"content": 1.0, "style/relu1_1": 0.25}


def test_options_of_an_older_version_have_their_defaults(tmp_path: Path) -> None:
    record = example()
    del record.config["schedule"]["carry"], record.config["trial"]
    record.config["loss"]["unheard"] = 1
    record.write(tmp_path)
    found = records.read(tmp_path)
    assert found and found.options == RunConfig() and found.config["loss"]["unheard"] == 1


def test_a_run_from_before_self_similarity_is_repeated_without_it(tmp_path: Path) -> None:
    record, folder = example(), run_name(typed(RunConfig(loss=Loss(self_similarity=0.0))))
    assert run_name(record.options) != folder
    del record.config["loss"]["self_similarity"]
    record.write(tmp_path)
    found = records.read(tmp_path)
    assert found and found.options_to_repeat(tmp_path).loss.self_similarity == 0
    assert "self_similarity" not in identity(found.options)["loss"] and run_name(found.options) == folder


def test_a_run_with_a_removed_option_is_not_repeated(tmp_path: Path) -> None:
    record = example(status="interrupted")
    record.config["init"]["hold"] = 3
    record.write(tmp_path)
    message = r"a run of another version, .* \(there is no option init\.hold\); start a new run in another folder$"
    with pytest.raises(InputError, match=message):
        resumed(tmp_path)
    with pytest.raises(InputError, match=message):
        RunContext(RunConfig(), tmp_path).check()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda data: data.update(step="x"), "step is 'x', not int"),
        (lambda data: data.update(step=True), "step is True, not int"),
        (lambda data: data.update(ssim=[1]), r"ssim is \[1\], not float"),
        (lambda data: data.update(ssim=10**400), "ssim is 1000"),
        (lambda data: data.update(ssim=math.nan), "ssim is nan"),
        (lambda data: data.update(status=None), "status is None, not str"),
        (lambda data: data.pop("status"), "status"),
        (lambda data: data.pop("schema"), "it has no 'schema'"),
        (lambda data: data.update(captures={}), "captures is {}"),
        (lambda data: data.update(captures=[7]), "not subscriptable"),
        (lambda data: data["captures"][0].update(losses=[1]), "no attribute"),
        (lambda data: data["captures"][0]["losses"].update(total="low"), r"captures\[0\].losses.total is 'low'"),
        (lambda data: data["captures"][0].pop("file"), "file"),
        (lambda data: data.update(config=None), "config is None"),
        (lambda data: data["config"].update(loss="patches"), "config.loss is 'patches', not Loss"),
        (lambda data: data["config"]["optimizer"].update(lr="fast"), "config.optimizer.lr is 'fast', not float"),
        (lambda data: data["config"]["layers"].update(style=[1]), r"config.layers.style\[0\] is 1, not str"),
        (lambda data: data.update(schema=1), "schema 1; this version reads 2"),
    ],
)
def test_a_damaged_record_is_refused_with_its_field(
    edit: Callable[[dict[str, Any]], object], reason: str, tmp_path: Path
) -> None:
    example().write(tmp_path)
    change(tmp_path, edit)
    with pytest.raises(InputError, match=reason) as error:
        records.read(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"[1]", b"7", b'"a"', b"{", b"", b"\xff\xfe", b"[" * 100_000, b'{"schema": 2}'])
def test_a_file_that_is_no_record_is_refused(text: bytes, tmp_path: Path) -> None:
    (tmp_path / records.FILE).write_bytes(text)
    with pytest.raises(InputError, match=r"record\.json is not a run record"):
        records.read(tmp_path)


def test_a_scan_leaves_out_damaged_records_fifos_and_folders(tmp_path: Path) -> None:
    example().write(tmp_path / "good")
    for name in ("damaged", "pipe", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / records.FILE).write_text("{}")
    os.mkfifo(tmp_path / "pipe" / records.FILE)
    (tmp_path / "folder" / records.FILE).mkdir()
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / records.FILE).symlink_to(tmp_path / "nowhere")
    said: list[str] = []
    assert [folder.name for folder, _ in records.scan(tmp_path, said.append)] == ["good"]
    assert [line.split("/")[-2] for line in said] == ["damaged", "folder", "pipe"]


def test_the_newest_unfinished_run_is_one_that_can_be_resumed(tmp_path: Path) -> None:
    for age, (name, status) in enumerate(
        [("done", "finished"), ("broken", "failed"), ("stopped", "interrupted"), ("older", "running")]
    ):
        example(status=status).write(tmp_path / name)
        os.utime(tmp_path / name / records.FILE, (1e9 - age, 1e9 - age))
    assert records.newest(tmp_path).name == "stopped"
    (tmp_path / "broken" / "last.ckpt").touch()
    assert records.newest(tmp_path).name == "broken"
    with pytest.raises(InputError, match=r"no unfinished run below .*; add steps=N to extend the newest finished run"):
        records.newest(tmp_path / "done")
    told = records.nothing_to_resume(tmp_path)
    assert told.startswith("that folder holds no run itself, but 4 below it, such as ") and str(tmp_path) in told
    (tmp_path / "empty").mkdir()
    assert records.nothing_to_resume(tmp_path / "empty") == "there is no run in that folder"
