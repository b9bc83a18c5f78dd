"""A run folder: what is in it, what is skipped, resumed or refused."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pytorch_lightning.plugins.environments import LightningEnvironment

from src.common.errors import InputError
from src.common.files import atomic_file, sole_writer, write_atomically
from src.config.schema import Trainer
from src.run import resume, run, run_batch
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.training import loop
from src.training.context import RunContext, new_record
from src.training.loop import build_trainer
from src.training.setup import PreparedRun
from tests.support.runs import run_until

FIELDS = """
schema status error config evaluations precision kernels
initial_loss captures loss_decay ssim ssim_published it_per_s seconds peak_mib wandb_id content_sha256 style_sha256
weights_sha256 versions commit command
""".split()  # noqa: SIM905


def test_a_finished_run_leaves_everything(small: Callable, tmp_path: Path) -> None:
    record = run(small("logger=csv"), tmp_path)
    data = json.loads((tmp_path / "record.json").read_text())
    assert set(data) >= set(FIELDS)
    config = data["config"]
    assert (data["status"], config["layers"]["name"]) == ("finished", "b")
    assert (config["content"]["name"], config["style"]["name"]) == ("astronaut", "brushwork")
    assert [config["backbone"][name] for name in ("weights", "name", "pool")] == ["trained", "embedded", "blur"]
    assert config["steps"] == data["step"] == data["evaluations"] == 6
    assert [capture["step"] for capture in data["captures"]] == [2, 4, 6]
    assert all((tmp_path / capture["file"]).is_file() for capture in data["captures"])
    assert 0 < data["ssim"] < 1 and data["it_per_s"] > 0 and data["seconds"] > 0 and data["peak_mib"] > 50
    assert len(data["content_sha256"]) == len(data["style_sha256"]) == len(data["weights_sha256"]) == 64
    assert data["versions"]["torch"] and data["command"]
    for name in ("image.png", "last.ckpt", "config.yaml", "metrics.csv"):
        assert (tmp_path / name).is_file()
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()], "a temporary file was left"
    assert records.read(tmp_path) == record
    assert [folder for folder, _ in records.scan(tmp_path)] == [tmp_path]


def test_a_finished_run_is_not_run_again(small: Callable, tmp_path: Path) -> None:
    run(small(), tmp_path)
    before = (tmp_path / "record.json").stat().st_mtime_ns
    assert run(small("logger=csv", "checkpoint_every=5"), tmp_path).status == "finished"
    assert resume(tmp_path).status == "finished"
    assert (tmp_path / "record.json").stat().st_mtime_ns == before


def test_a_folder_with_another_run_is_refused(small: Callable, tmp_path: Path) -> None:
    run(small(), tmp_path)
    before = (tmp_path / "record.json").read_bytes()
    with pytest.raises(InputError, match=r"holds another run \(it differs in edge, seed\)"):
        run(small("seed=4", "edge=50"), tmp_path)
    assert (tmp_path / "record.json").read_bytes() == before


def test_a_file_that_is_missing_is_reported_before_the_folder_exists(small: Callable, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    config = small("content=file", f"content.path={path}")
    with pytest.raises(InputError, match="no such file"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    from PIL import Image

    Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 50).save(path)
    mended = run(config, tmp_path / "run")
    assert mended.status == "finished" and mended.error is None


def test_a_run_with_another_file_under_the_same_name_is_refused(small: Callable, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 50).save(path)
    config = small("content=file", f"content.path={path}")
    run(config, tmp_path / "run")
    record = records.read(tmp_path / "run")
    record.status = "interrupted"
    record.write(tmp_path / "run")
    Image.effect_mandelbrot((64, 48), (-1, -1, 1, 1), 50).save(path)
    with pytest.raises(InputError, match="has changed since this run began"):
        resume(tmp_path / "run")
    record.status = "finished"
    record.write(tmp_path / "run")
    with pytest.raises(InputError, match="has changed since this run finished"):
        run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["layers=e", "edge=15"], r"the content image would be 15x15 px.*at least 16 px.*edge=16 or more"),
        (["content=coffee", "edge=11"], r"edge=12 or more"),
        (["edge=100000"], r"10000 megapixels; the limit is 100 \(raise it with max_megapixels=N\)"),
        (["max_megapixels=0.1"], r"the limit is 0.1 \(raise it with max_megapixels=N\)"),
        (["trainer=gpu"], "trainer.accelerator=gpu cannot be used"),
        (["backbone.weights=/no/such/file.pth"], "no such file; use trained, random"),
    ],
)
def test_bad_input_leaves_nothing_that_looks_like_a_run(
    overrides: list[str], message: str, small: Callable, tmp_path: Path
) -> None:
    import torch

    if "trainer=gpu" in overrides and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(InputError, match=message):
        run(small(*overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_two_processes_do_not_share_a_folder(small: Callable, tmp_path: Path) -> None:
    with sole_writer(tmp_path), pytest.raises(InputError, match="another process is using"):
        run(small(), tmp_path)


def test_a_run_that_another_process_finished_meanwhile_keeps_its_record(small: Callable, tmp_path: Path) -> None:
    late = RunContext(small(), tmp_path)
    late.check()
    finished = run(small(), tmp_path)
    with late.guard():
        late.open()
    assert isinstance(late.error, InputError)
    assert "changed" in str(late.error) and "run the command again" in str(late.error)
    assert records.read(tmp_path) == finished
    with sole_writer(tmp_path):
        pass


def test_an_error_of_the_batch_does_not_change_runs_that_have_ended(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = loop.fit

    def fails_afterwards(*arguments: object) -> None:
        end(*arguments)
        raise RuntimeError("out of luck")

    monkeypatch.setattr(loop, "fit", fails_afterwards)
    assert run(small(), tmp_path).status == "finished"


def test_an_error_of_runs_that_resume_together_ends_no_others(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that is started again: one run resumes at step 3, the other has not begun."""
    fit, configs = loop.fit, [small(f"style={style}") for style in ("dots", "swell")]
    run_until(3, configs[0], tmp_path / "0")

    def fail_to_resume(runs: Sequence[PreparedRun], *more: object) -> None:
        if runs[0].resume_step == 3:
            raise RuntimeError("out of luck")
        fit(runs, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "fit", fail_to_resume)
    failed, finished = run_batch([(config, tmp_path / str(number)) for number, config in enumerate(configs)])
    assert str(failed) == "out of luck" and isinstance(finished, RunRecord) and finished.status == "finished"
    told = records.read(tmp_path / "0")
    assert told and told.status == "failed"


def test_resuming_with_an_unknown_option_is_an_error_of_one_line(small: Callable, tmp_path: Path) -> None:
    run(small("steps=1"), tmp_path)
    with pytest.raises(InputError, match="loger"):
        resume(tmp_path, {"loger": {"name": "csv"}})


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file.json"
    write_atomically(path, b"old")
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        file.write(b"ne")
        raise RuntimeError
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*file\.json: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(path / "below-a-file", b"new")


def test_a_full_disk_is_said_in_a_line(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import src.training.setup

    def full(path: Path, *_: object) -> None:
        raise InputError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(src.training.setup, "write_image", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(small(), tmp_path)
    assert records.read(tmp_path).status == "failed"


@pytest.mark.parametrize("data", ["", "{", "[]", '{"schema": 99}', '{"schema": 1, "status": "finished"}'])
def test_a_damaged_record_is_an_error_of_one_line(data: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(data)
    with pytest.raises(InputError, match=r"record\.json"):
        records.read(tmp_path)


def test_the_newest_unfinished_run(small: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no unfinished run"):
        records.newest(tmp_path)
    for number, status in enumerate(["running", "interrupted", "failed", "finished", "running"]):
        record = new_record(small())
        record.status = status
        record.write(tmp_path / str(number))
    with sole_writer(tmp_path / "4"):
        assert records.newest(tmp_path) == tmp_path / "1", "not one at work, nor rejected input"
    (tmp_path / "2" / "last.ckpt").touch()
    with sole_writer(tmp_path / "4"):
        assert records.newest(tmp_path) == tmp_path / "2", "a failure after a checkpoint can go on"


def test_lightning_takes_no_part_in_a_slurm_job(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"JOB_ID": "7", "JOB_NAME": "styles", "NTASKS": "2", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    trainer = build_trainer(Trainer(accelerator="cpu"))
    assert isinstance(trainer._accelerator_connector.cluster_environment, LightningEnvironment)
