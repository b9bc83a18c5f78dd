"""A run's folder while a process is at work in it: claimed, recorded, tracked, and closed whatever ends it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from src.common.errors import InputError, Interrupted, NonFiniteLoss
from src.common.files import sole_writer, write_atomically
from src.config.identity import identity
from src.config.schema import RunConfig, plain, typed
from src.config.validation import WEIGHTS, validate
from src.data.sources import sha256_of
from src.encoders.registry import check_taps
from src.tracking import provenance
from src.tracking import record as records
from src.tracking.csv_logger import Tracker
from src.tracking.record import RunRecord
from src.tracking.wandb_logger import open_trackers

log = logging.getLogger(__name__)


@dataclass
class Session:
    """A run while a process is at work on it.

    Attributes:
        finished: by an earlier process; nothing is to be done, and nothing is written.
        trackers: open, until the session ends.
    """

    config: RunConfig
    folder: Path
    record: RunRecord
    finished: bool = False
    trackers: list[Tracker] = field(default_factory=list)


@contextmanager
def opened(config: RunConfig, folder: Path) -> Iterator[Session]:
    """Hold a run's folder; what ends the block ends the run, and its record and its trackers say how.

    Raises:
        InputError: the folder holds another run, is in use, or the configuration cannot be used.
    """
    with sole_writer(folder):
        record = _claim(config, folder)
        session = Session(config, folder, record)
        if record.status == "finished":
            _same_pictures(config, record)
            log.info("already finished: %s (where it runs and who watches make no other run)", folder)
            session.finished = True
            yield session
            return
        record.status, record.error, record.ended = "running", None, None
        record.write(folder)
        _write_config(config, folder)
        try:
            weights = config.backbone.weights if config.backbone.weights in WEIGHTS else "file"
            tag = f"{config.backbone.name}-{weights}"
            session.trackers += open_trackers(config.logger, folder, record, plain(config), tag)
            validate(config)
            check_taps(config)
            yield session
            record.status = "finished"
        except Interrupted as stop:
            record.status, record.error = "interrupted", f"signal {stop.signal_number}"
            raise
        except KeyboardInterrupt:
            record.status, record.error = "interrupted", "signal 2"
            raise
        except BaseException as error:
            record.status, record.error = "failed", str(error) or type(error).__name__
            if not isinstance(error, InputError | NonFiniteLoss):
                record.error = f"{type(error).__name__}: {record.error}"
                log.exception("the run failed")
            raise
        finally:
            record.ended = provenance.timestamp()
            try:
                _write_last(record, folder)
            finally:
                for tracker in session.trackers:
                    tracker.close(record)


def _claim(config: RunConfig, folder: Path) -> RunRecord:
    record = records.read(folder)
    if record is None:
        return new_record(config)
    spec, held = identity(config), identity(typed(record.config))
    if held != spec:
        differing = sorted(key for key in spec if spec[key] != held[key])
        raise InputError(f"{folder} holds another run (it differs in {', '.join(differing)}); choose another folder")
    return record


def _same_pictures(config: RunConfig, record: RunRecord) -> None:
    for kind, picture in (("content", config.content), ("style", config.style)):
        path = Path(picture.path or "").expanduser()
        if picture.path and path.is_file() and sha256_of(path) != getattr(record, f"{kind}_sha256"):
            raise InputError(f"{path} has changed since this run finished; choose another folder to run it anew")


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


def _write_last(record: RunRecord, folder: Path) -> None:
    try:
        record.write(folder)
    except InputError as error:
        if record.status == "finished":
            raise
        log.error("%s", error)  # what ended the run is the error to raise


def _write_config(config: RunConfig, folder: Path) -> None:
    from omegaconf import OmegaConf

    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain(config))).encode())
