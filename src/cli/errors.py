"""The manners of the command line: one clear line for what is wrong, the right exit status, resume in place."""

import errno
import logging.config
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.common.errors import InputError, Interrupted, NonFiniteLoss, SweepFailed
from src.config.composition import explain_composition
from src.config.identity import NON_IDENTITY_FIELDS
from src.config.schema import CONF, RunConfig
from src.run import resume
from src.tracking import record as records

FAILED, BAD_INPUT = 1, 2
TRACEBACK = "STYLE_TRACEBACK"
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EFBIG)


@contextmanager
def plain_errors(schema: type = RunConfig) -> Iterator[None]:
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
        _exit(f"interrupted; {stop.goes_on} goes on", stop.exit_status)
    except KeyboardInterrupt:
        _exit("interrupted", 128 + signal.SIGINT)
    except Exception as error:
        if os.environ[TRACEBACK] == "1":
            raise
        status = 1 if isinstance(error, NonFiniteLoss | SweepFailed) else BAD_INPUT
        if (message := explain(error, schema)) is None:
            traceback.print_exc()
            status = FAILED
        _exit(message, status)


def job_errors(schema: type = RunConfig) -> AbstractContextManager[None]:
    """Return what a job of Hydra's runs in: of a sweep, it hands its error to the launcher; alone, it speaks itself."""
    return nullcontext() if HydraConfig.get().mode == RunMode.MULTIRUN else plain_errors(schema)


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _exit(message: str | None, status: int) -> None:
    if message:
        print(message if status > 2 else f"error: {message}", file=sys.stderr)
    sys.exit(status)


def explain(error: BaseException, schema: type = RunConfig) -> str | None:
    """Return what a user should read of an error; None for one that is a bug of ours. The schema has the options."""
    if isinstance(error, InputError | NonFiniteLoss | SweepFailed):
        return str(error)
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return f"cannot write {error.filename or 'the run folder'}: {error.strerror}"
    if isinstance(error, ValueError) and str(error).startswith("Only one of --run"):
        return "-m and --cfg do not go together: --cfg job shows the configuration that a sweep starts from"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain_composition(error, schema)
    return None


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
    groups = {"logger": "logger.name", "trainer": "trainer.accelerator"}
    dotted = [f"{groups.get(key, key)}={value}" for key, value in values.items()]
    beside = OmegaConf.to_container(OmegaConf.from_dotlist(dotted))
    assert isinstance(beside, dict)
    for key in map(str, beside):
        if key not in NON_IDENTITY_FIELDS:
            raise InputError(
                f"resume=DIR takes the whole run from its folder; {key} cannot be changed. These can: "
                f"{', '.join(each for each in NON_IDENTITY_FIELDS if each != 'resume')}"
            )
    folder = records.newest_unfinished(Path("multirun")) if asked == "last" else Path(asked).expanduser()
    return folder, {str(key): value for key, value in beside.items()}


def resume_in_place(folder: Path, circumstances: dict[str, Any]) -> None:
    """Go on with a run in its own folder, logging as its first process did."""
    if not folder.is_dir():
        raise InputError(f"resume={folder}: no such folder")
    layout = OmegaConf.load(CONF / "hydra" / "job_logging" / "plain.yaml")
    whole = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}, "logging": layout})
    settings: Any = OmegaConf.to_container(whole, resolve=True)
    try:
        logging.config.dictConfig(settings["logging"])
    except ValueError as error:  # its handler for train.log could not be made
        raise InputError(f"cannot write to {folder}: {error.__cause__ or error}") from None
    resume(folder, circumstances)
