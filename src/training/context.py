"""One run while a process works on it: its locked folder, its record, its loggers, and how it ended."""

import logging
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from omegaconf import OmegaConf

from src.common.errors import OTHER_FOLDER, InputError, Interrupted, NonFiniteLoss, outcome
from src.common.files import expanded, sole_writer, write_atomically
from src.common.packages import require
from src.config.identity import differing, identity
from src.config.schema import RunConfig, plain, result_file
from src.config.validation import WEIGHTS
from src.data import deep
from src.data.sources import Found, find_files, inputs_of, sha256_of
from src.tracking import names, provenance
from src.tracking import record as records
from src.tracking.loggers import RunLoggers, open_loggers
from src.tracking.record import RunRecord
from src.training.logs import CURRENT_RUN, log_to_file
from src.transfer.checks import check_options

log = logging.getLogger(__name__)

# Makes further files of a result in its run folder; returns them by name.
Outputs = Callable[[Path], Mapping[str, Path]]


class RunContext:
    """A run that this process works on.

    `check` reports what is wrong with the configuration and its files before the folder exists; `open` locks the
    folder and starts record and loggers; `close` writes how the run ended.

    Args:
        config: the options.
        folder: the run folder.
        outputs: called once the picture is done.

    Attributes:
        record: of the run, once checked.
        files: the image files that were found.
        loggers: open between `open` and `close`.
        ended: the run is finished, by an earlier process or by `close`.
        error: what ended it, where it did not finish.
    """

    files: dict[str, Found]
    loggers: RunLoggers

    def __init__(self, config: RunConfig, folder: Path, outputs: Outputs | None = None) -> None:
        self.config, self.folder, self.outputs = config, folder, outputs
        self.record = new_record(config)
        self.ended = False
        self.error: BaseException | None = None
        self._opened = False
        self._seen: tuple[object, ...] | None = None
        self._resources = ExitStack()

    def check(self) -> None:
        """Check the configuration, find the image files, and read the folder's record where there is one.

        Raises:
            InputError: the configuration or a file cannot be used, or the folder holds another run.
        """
        check_options(self.config)
        if self.config.depth == 16:
            require("depth=16", "files", deep.PACKAGES)
        self._take_over_record()
        if self.record.status == "finished":
            self._check_unchanged()
            log.info("already finished: %s", self.folder)
            self.ended = True
        else:
            self.files = find_files(self.config)

    def _take_over_record(self) -> None:
        """Go on with the folder's record where it has one; refuse that of another run."""
        found = records.read(self.folder)
        self._seen = _progress(found)
        if found is None:
            return
        if differ := differing(identity(self.config), identity(found.options_to_repeat(self.folder))):
            raise InputError(f"{self.folder} holds another run (it differs in {differ}); {OTHER_FOLDER}")
        self.record = found

    def _check_unchanged(self) -> None:
        for kind, picture in inputs_of(self.config).items():
            path = expanded(picture.path or "")
            if picture.path and path.is_file() and sha256_of(path) != self.record.checksum(kind):
                raise InputError(f"{path} has changed since this run finished; choose another folder to run it again")

    def open(self) -> None:
        """Lock the folder, write record and configuration, and start the loggers.

        Raises:
            InputError: the folder is in use, or cannot be written to.
        """
        self._resources.enter_context(sole_writer(self.folder))
        if _progress(records.read(self.folder)) != self._seen:
            raise InputError(
                f"another process changed {self.folder} while this run was being set up; run the command again"
            )
        self._opened = True
        record = self.record
        if self._seen is not None:  # the rest of the run is this program's
            record.versions, record.commit = provenance.versions(), provenance.commit()
        record.config = plain(self.config)
        record.status, record.error, record.ended = "running", None, None
        record.write(self.folder)
        yaml = OmegaConf.to_yaml(OmegaConf.create(record.config))
        write_atomically(self.folder / "config.yaml", yaml.encode())
        backbone = self.config.backbone
        weights = backbone.weights if backbone.weights in WEIGHTS else "file"
        tag = f"{backbone.name}-{weights}"
        self.loggers = open_loggers(self.config.logger, self.folder, record, record.config, tag)

    def close(self, error: BaseException | None = None) -> None:
        """Write how the run ended and release its folder. If it has ended already, this does nothing."""
        token = CURRENT_RUN.set(self.folder)
        try:
            self._close(error)
        finally:
            CURRENT_RUN.reset(token)

    def _close(self, error: BaseException | None) -> None:
        if self.ended:
            return
        self.error, self.ended = error, True
        status, message = outcome(error)
        if error is not None:
            log_to_file(f"{status}: {message}")
        if not self._opened:
            self._resources.close()
            return
        record = self.record
        record.status, record.error = status, message
        if error is not None and not isinstance(error, InputError | NonFiniteLoss | Interrupted | KeyboardInterrupt):
            log.error("the run failed", exc_info=error)
        record.ended = provenance.timestamp()
        try:
            record.write(self.folder)
        except InputError as unwritten:
            if error is None:
                self.error = unwritten
            else:
                log.error("%s", unwritten)
        finally:
            with self._resources:
                if hasattr(self, "loggers"):
                    self.loggers.close(record)

    @property
    def resume_command(self) -> str:
        """Return the command that goes on with the run."""
        return f"python -m src.train resume={shlex.quote(str(self.folder))}"

    def announce_result(self) -> None:
        """Log where the picture is and what was measured of it."""
        record, picture = self.record, self.folder / result_file(self.config)
        inside = picture.resolve().is_relative_to(Path.cwd())
        log.info(
            "%s (loss %.4g -> %.4g, SSIM %.3f, %.2f it/s)",
            os.path.relpath(picture) if inside else picture,
            record.initial_loss or 0.0,
            record.captures[-1].losses[names.TOTAL_TERM],
            record.ssim or 0.0,
            record.it_per_s or 0.0,
        )

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Let an exception of the block end this run and no other; log lines of the block belong to this run."""
        token = CURRENT_RUN.set(self.folder)
        try:
            yield
        except (Exception, Interrupted) as error:
            self.close(error)
        finally:
            CURRENT_RUN.reset(token)


def _progress(record: RunRecord | None) -> tuple[object, ...] | None:
    return None if record is None else (record.status, record.step, record.ended)


def new_record(config: RunConfig) -> RunRecord:
    """Return the record of a run that has not begun."""
    return RunRecord(
        status="running",
        precision=config.precision,
        config=plain(config),
        versions=provenance.versions(),
        commit=provenance.commit(),
        command=provenance.command(),
        started=provenance.timestamp(),
    )
