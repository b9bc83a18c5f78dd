"""Trackers log a run and never stop it. TensorBoard and MLflow are tested where their packages are installed."""

import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from src.common.errors import InputError
from src.config.schema import Logger, group_names
from src.tracking import loggers
from src.tracking.loggers import RunLoggers, check_installed, open_loggers
from src.tracking.wandb_logger import RunWandbLogger
from tests.tracking.records import ExampleRecord

CONFIG = {"steps": 6, "loss": {"beta": 10.0}, "content": {"path": None}}


class FailingRun:
    """A W&B run that cannot log."""

    offline = True

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.summary: dict[str, object] = {}

    def log(self, *_: object, **__: object) -> None:
        raise RuntimeError("the disk of the server is full\nand more lines")

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


def test_a_failing_tracker_is_reported_once_and_finished(caplog: pytest.LogCaptureFixture) -> None:
    failing = FailingRun()
    opened = RunLoggers(tracker=RunWandbLogger(failing))
    for step in range(3):
        opened.log_point({"loss/total": 1.0}, step)
    assert [line.count("the disk of the server is full") for line in caplog.messages] == [1]
    assert "more lines" not in caplog.text
    opened.close(ExampleRecord(status="failed"))
    assert failing.exit_code == 1


def test_a_tracker_that_hangs_is_left_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Hanging(FailingRun):
        def log(self, *_: object, **__: object) -> None:
            time.sleep(20)

    monkeypatch.setattr(loggers, "CALL_SECONDS", 0.2)
    hanging = Hanging()
    opened = RunLoggers(tracker=RunWandbLogger(hanging))
    begun = time.monotonic()
    for step in range(3):
        opened.log_point({"loss/total": 1.0}, step)
    opened.close(ExampleRecord())
    assert time.monotonic() - begun < 5
    assert len(caplog.messages) == 1 and "TimeoutError" in caplog.text
    assert hanging.exit_code is None, "a second call would hang as long"


def test_an_unreadable_picture_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened = RunLoggers(tracker=RunWandbLogger(FailingRun()))
    opened.log_point({"loss/total": 1.0}, 0, tmp_path / "missing.png")
    assert len(caplog.messages) == 1 and "no such image file" in caplog.text


def test_each_name_has_a_file_in_conf_and_an_opener() -> None:
    assert group_names("logger") == ["csv", "mlflow", "none", "tensorboard", "wandb"]
    for name in set(group_names("logger")) - {"none"}:
        assert importlib.util.find_spec(f"src.tracking.{name}_logger")


def test_no_logger_writes_nothing(tmp_path: Path) -> None:
    opened = open_loggers(Logger(name="none"), tmp_path, ExampleRecord(), CONFIG, "tag")
    log_a_run(opened, tmp_path / "pictures")
    assert opened.csv is None and opened.tracker is None and opened.last_step == -1
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_an_error_of_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=rf"logger={name} needs .*: pip install {name}.* \(the extra {name}\)$"):
        open_loggers(Logger(name=name), tmp_path, ExampleRecord(), CONFIG, "tag")
    assert not list(tmp_path.iterdir())
    check_installed("wandb")


def log_a_run(
    opened: RunLoggers, folder: Path, steps: range = range(0, 6, 2), resume_step: int = -1, status: str = "finished"
) -> None:
    """Log some rows, the last with a picture, and close."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (40, 20), (255, 0, 0)).save(folder / "content.png")
    Image.new("RGB", (20, 40), (0, 0, 255)).save(folder / "capture.png")
    record = ExampleRecord()
    opened.begin(record, resume_step, {"content": folder / "content.png"} if resume_step < 0 else {})
    for step in steps:
        last = step == steps[-1]
        opened.log_point({"loss/total": 1.0 / (1 + step)}, step, folder / "capture.png" if last else None)
    record.status = status
    opened.close(record)


def resumed(name: str, folder: Path, pictures: Path, first_status: str) -> None:
    """Log a run in two processes' worth of loggers: steps 0 to 8, of which 6 and 8 are logged anew."""
    opened = open_loggers(Logger(name=name, tags=["mine"]), folder, ExampleRecord(), CONFIG, "tag")
    log_a_run(opened, pictures, range(0, 10, 2), status=first_status)
    opened = open_loggers(Logger(name=name, tags=["mine"]), folder, ExampleRecord(), CONFIG, "tag")
    log_a_run(opened, pictures, range(6, 12, 2), resume_step=4)
    steps = [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()]
    assert steps == ["step", "0", "2", "4", "6", "8", "10"]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run folder whose name needs quoting in addresses."""
    folder = tmp_path / "the run, 100%"
    folder.mkdir()
    return folder


def test_tensorboard(run_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    resumed("tensorboard", run_folder, tmp_path, "failed")
    events = EventAccumulator(str(run_folder / "tensorboard"))
    events.Reload()
    rows = events.Scalars("loss/total")
    assert [row.step for row in rows] == [0, 2, 4, 6, 8, 10]
    assert [row.value for row in rows] == pytest.approx([1 / (1 + row.step) for row in rows])
    assert [image.step for image in events.Images("capture")] == [10]
    assert [(image.width, image.height) for image in events.Images("content")] == [(40, 20)]
    assert {row.value for row in events.Scalars("final/ssim")} == {0.5}
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")


def mlflow_run(uri: str) -> tuple[Any, Any]:
    """Return MLflow's client and the only run in a store."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("neural-style")
    [run] = client.search_runs([experiment.experiment_id])
    return client, run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow uses deprecated parts of SQLAlchemy
@pytest.mark.parametrize("place", ["run folder", "MLFLOW_TRACKING_URI"])
def test_mlflow(place: str, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in loggers.OPTIONAL["mlflow"]:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{run_folder / 'mlflow' / 'mlflow.db'}"
    if place != "run folder":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{tmp_path / 'all.db'}")
    resumed("mlflow", run_folder, tmp_path, "interrupted")
    client, run = mlflow_run(uri)
    assert (run.info.status, run.info.run_name) == ("FINISHED", run_folder.name)
    history = client.get_metric_history(run.info.run_id, "loss/total")
    assert {(each.step, round(each.value, 6)) for each in history} == {
        (s, round(1 / (1 + s), 6)) for s in range(0, 12, 2)
    }
    assert run.data.params["loss/beta"] == "10.0" and run.data.tags["device"] == "cpu"
    assert run.data.tags["tags"] == "mine, tag" and run.data.metrics["final/ssim"] == 0.5
    images = [each.path for each in client.list_artifacts(run.info.run_id, "images") if each.path.endswith(".png")]
    assert sorted({path.split("/")[-1].split("+")[0] for path in images}) == ["capture", "content"]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_server_that_is_gone_delays_a_run_by_seconds(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for package in loggers.OPTIONAL["mlflow"]:
        pytest.importorskip(package)
    import mlflow  # noqa: F401

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    begun = time.monotonic()
    opened = open_loggers(Logger(name="mlflow"), run_folder, ExampleRecord(), CONFIG, "tag")
    assert time.monotonic() - begun < 10
    assert [line for line in caplog.messages if "logger=mlflow could not start" in line]
    log_a_run(opened, tmp_path)
    assert (run_folder / "metrics.csv").read_text().startswith("step,loss/total")
