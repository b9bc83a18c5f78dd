"""How commands that are no single run end: what their records say, and that their loggers are closed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from src.common.errors import InputError, Interrupted
from src.config.schema import Logger
from src.tracking import command_record
from src.tracking.command_record import CommandRecord, tracked
from src.tracking.loggers import RunLoggers


@dataclass(kw_only=True)
class _Record(CommandRecord):
    file: ClassVar[str] = "command.json"


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (None, "finished", None),
        (Interrupted(15), "interrupted", "signal 15"),
        (KeyboardInterrupt(), "interrupted", "signal 2"),
        (SystemExit(143), "interrupted", "exit status 143"),
        (InputError("no room"), "failed", "no room"),
        (ValueError("odd"), "failed", "ValueError: odd"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_record_and_the_loggers_get_how_a_command_ended(
    error: BaseException | None, status: str, told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr(RunLoggers, "close", lambda self, record: closed.append((record.status, record.ended)))

    def command() -> None:
        with tracked(Logger(name="csv"), tmp_path, record, "tag"):
            assert json.loads((tmp_path / _Record.file).read_text())["status"] == "running"
            if error is not None:
                raise error

    record = _Record(config={}, error="of an earlier process")
    if error is None:
        command()
    else:
        with pytest.raises(type(error)):
            command()
    written = json.loads((tmp_path / _Record.file).read_text())
    assert (written["status"], written["error"]) == (status, told) and written["ended"]
    assert closed == [(status, written["ended"])]


def test_loggers_that_cannot_be_opened_are_recorded_as_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("logger=mlflow needs packages")

    monkeypatch.setattr(command_record, "open_loggers", refuse)
    with pytest.raises(InputError), tracked(Logger(name="mlflow"), tmp_path, _Record(config={}), "tag"):
        pytest.fail("the command must not begin")
    written = json.loads((tmp_path / _Record.file).read_text())
    assert (written["status"], written["error"]) == ("failed", "logger=mlflow needs packages")
