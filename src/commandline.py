"""The manners of the command line: one clear line for what is wrong, the right exit status, resume in place."""

import difflib
import logging.config
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import records
from src.config import CIRCUMSTANCES, CONF
from src.errors import InputError, Interrupted, NonFiniteLoss, SweepFailed
from src.help import option_names
from src.run import resume

FAILED, BAD_INPUT = 1, 2
TRACEBACK = "STYLE_TRACEBACK"


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a user can cause into a line on stderr and an exit status; let a bug show its traceback.

    Exit status: 2 for bad input, 1 for a run or sweep that failed, 130 and 143 for signals.
    """
    # With "1" Hydra raises instead of printing its own way and exiting; the user's own "1" asks for tracebacks.
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        os.environ.setdefault(TRACEBACK, "1")
    os.environ.setdefault(TRACEBACK, "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except Interrupted as stop:
        _exit(f"interrupted; python -m src.train resume={stop.folder} goes on", stop.exit_status)
    except KeyboardInterrupt:
        _exit("interrupted", 128 + signal.SIGINT)
    except Exception as error:
        if os.environ[TRACEBACK] == "1":
            raise
        status = 1 if isinstance(error, NonFiniteLoss | SweepFailed) else BAD_INPUT
        if (message := explain(error)) is None:
            traceback.print_exc()
            status = FAILED
        _exit(message, status)


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _exit(message: str | None, status: int) -> None:
    if message:
        print(message if status > 2 else f"error: {message}", file=sys.stderr)
    sys.exit(status)


def explain(error: BaseException) -> str | None:
    """Return what a user should read of an error; None for one that is a bug of ours."""
    if isinstance(error, InputError | NonFiniteLoss | SweepFailed):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"cannot write {error.filename}: {error.strerror}"
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    text = str(error)
    if found := re.match(r"Could not override '([^']+)'", text):
        return _unknown_option(found[1])
    if found := re.search(r"Could not find '([^']+)'", text):
        choices = re.findall(r"^\t(\S+)", text.partition("Config search path")[0], re.MULTILINE)
        group, _, name = found[1].rpartition("/")
        return f"{group}={name} is unknown; one of: {', '.join(choices)}"
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        return f"{text}: {str(cause).splitlines()[0]}"
    if (
        "mismatched input" in text
        or "no viable alternative" in text
        or "extraneous input" in text
        or "token rec" in text
    ):
        return (
            f"{text.splitlines()[0]}\nvalues with spaces, commas, = or brackets are quoted twice: "
            "'content.path=\"my photo, 1.jpg\"'"
        )
    return re.sub(r"\nSee https://hydra.cc.*", "", text)


def _unknown_option(name: str) -> str:
    names = option_names()
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    inside = [each for each in names if each.startswith(name.partition(".")[0] + ".")] if "." in name else []
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no option {name}; {hint}the options: {', '.join(inside or names)}"


def resume_request(arguments: Sequence[str]) -> tuple[Path, dict[str, Any]] | None:
    """Return the folder that `resume=DIR` or `resume=last` names, and the options beside it; None without one.

    Raises:
        InputError: an option beside it would change the run.
    """
    values = dict(argument.partition("=")[::2] for argument in arguments if "=" in argument)
    asked = values.pop("resume", "null")
    if asked == "null":
        return None
    if len(values) + 1 < len(arguments):
        raise InputError("resume=DIR goes on with one run: no flags and no sweep beside it")
    beside = OmegaConf.to_container(OmegaConf.from_dotlist([f"{key}={value}" for key, value in values.items()]))
    assert isinstance(beside, dict)
    for key in map(str, beside):
        if key not in CIRCUMSTANCES:
            raise InputError(
                f"resume=DIR takes the whole run from its folder; {key} cannot be changed. These can: "
                f"{', '.join(each for each in CIRCUMSTANCES if each != 'resume')}"
            )
    groups = {"logger": "name", "trainer": "accelerator"}
    circumstances = {
        str(key): {groups[key]: value} if key in groups and not isinstance(value, dict) else value
        for key, value in beside.items()
    }
    folder = records.newest_unfinished(Path("multirun")) if asked == "last" else Path(asked).expanduser()
    return folder, circumstances


def resume_in_place(folder: Path, circumstances: dict[str, Any]) -> None:
    """Go on with a run in its own folder, logging as its first process did."""
    if not folder.is_dir():
        raise InputError(f"resume={folder}: no such folder")
    layout = OmegaConf.load(CONF / "hydra" / "job_logging" / "plain.yaml")
    whole = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}, "logging": layout})
    logging.config.dictConfig(OmegaConf.to_container(whole, resolve=True)["logging"])  # type: ignore[index, arg-type, call-overload]
    resume(folder, circumstances)
