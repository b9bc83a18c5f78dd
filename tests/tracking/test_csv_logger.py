"""`metrics.csv`: rows that survive a resume, damaged files, a full disk."""

import os
from pathlib import Path

import pytest

from src.common.errors import InputError
from src.tracking.csv_logger import MetricsLogger

ROWS = ["step,loss,ssim", "0,1.0,", "2,0.5,0.25", "4,0.25,"]


def resumed(folder: Path, step: int = 4) -> MetricsLogger:
    """Return the logger of a run that resumes from a step."""
    logger = MetricsLogger(folder)
    logger.begin(step)
    return logger


def lines(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


def test_rows_up_to_the_resume_step_are_kept(tmp_path: Path) -> None:
    first = MetricsLogger(tmp_path)
    first.begin(-1)
    for step in (0, 2, 4):
        first.log_metrics({"loss": step / 3}, step)
    first.log_metrics({"loss": 2.0, "ssim": 0.5}, 5)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("6,0.1")  # a kill while the line is written
    second = resumed(tmp_path)
    assert second.last_step == 4
    second.log_metrics({"loss": 9.0}, 6)
    assert lines(tmp_path) == ["step,loss,ssim", "0,0.0,", "2,0.6666666666666666,", "4,1.3333333333333333,", "6,9.0,"]
    MetricsLogger(tmp_path).begin(-1)
    assert (tmp_path / "metrics.csv").read_text() == ""


@pytest.mark.parametrize(
    "damaged",
    [
        "2,oops,0.25",
        "two,0.5,0.25",
        "2.5,0.5,0.25",
        "2,0.5,0.25,7",
        "2,0.5",
        "0,0.5,0.25",
        "2,\xff\xfe,0.25",
        '2,"0.5,0.25',
        "2,0.5\0,0.25",
        f"{'9' * 5000},0.5,0.25",
    ],
)
def test_damaged_rows_are_left_out(damaged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "\n".join([*ROWS[:2], damaged, ROWS[3], ""])
    (tmp_path / "metrics.csv").write_bytes(text.encode("latin-1"))
    assert resumed(tmp_path).last_step == 4
    assert lines(tmp_path) == [ROWS[0], ROWS[1], ROWS[3]]
    assert caplog.messages == [f"{tmp_path / 'metrics.csv'} has damaged rows; 1 left out"]


@pytest.mark.parametrize("content", [b"loss,ssim\n1,2\n", b"\x89PNG\r\n\x1a\n\0\0", os.urandom(3000), b'"' * 200_000])
def test_a_file_without_steps_is_renamed(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    logger = resumed(tmp_path)
    assert logger.last_step == -1 and len(caplog.messages) == 1 and "metrics.csv.damaged" in caplog.text
    assert (tmp_path / "metrics.csv.damaged").read_bytes() == content
    logger.log_metrics({"loss": 0.5}, 6)
    assert lines(tmp_path) == ["step,loss", "6,0.5"]


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_a_path_that_is_no_file_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    with pytest.raises(InputError, match=r"metrics\.csv is not a regular file; remove it"):
        resumed(tmp_path)


@pytest.mark.parametrize("rows_before", [0, 1])
def test_a_full_disk_is_an_error_of_one_line(rows_before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = MetricsLogger(tmp_path)
    logger.begin(-1)
    for step in range(rows_before):
        logger.log_metrics({"loss": 1.0}, step)
    if rows_before:  # an append
        logger.path = Path("/dev/full")
    else:  # a rewrite

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*: No space left on device"):
        logger.log_metrics({"loss": 1.0}, 10)
