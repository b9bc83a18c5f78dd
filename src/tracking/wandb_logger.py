"""Opens, names, groups and closes the trackers of a run. The only file that imports wandb for a run.

A tracker watches; it never stops a run, asks a question, or makes one wait for more than seconds.
"""

import logging
import netrc
import os
import secrets
import socket
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.common.errors import first_line
from src.config.schema import Logger as LoggerOptions
from src.tracking import names as keys
from src.tracking.csv_logger import CsvHistory, Tracked, Tracker

log = logging.getLogger(__name__)

SWEEP = "WANDB_SWEEP_ID"  # set by a W&B sweep's agent
CONNECT_SECONDS = 3.0
INIT_SECONDS = 10.0
FINISH_SECONDS = 5.0
FINISH_OFFLINE_SECONDS = 60.0  # a server may be dead, a disk is only busy


class WandbTracker(Tracker):
    """A W&B run. Whatever goes wrong with it is said once, and the run goes on without."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.broken = False

    def begin(self, record: Tracked, resume_step: int) -> None:
        """Add what the preparation found to the run's configuration."""
        self._try(lambda: self.run.config.update(record.found(), allow_val_change=True))

    def _try(self, action: Callable[[], Any]) -> None:
        if self.broken:
            return
        try:
            action()
        except Exception as error:
            self.broken = True
            log.warning("W&B failed and is left out from here on (%s); the run goes on", first_line(error))

    def log_point(self, values: dict[str, float], step: int, picture: Path | None = None) -> None:
        """Log one row, committed at once: a row that waits for its successor would be lost in a kill."""
        import wandb

        from src.data.images import preview

        def send() -> None:
            point: dict[str, Any] = {"step": step, **values}
            if picture is not None:
                point[keys.CAPTURE] = wandb.Image(preview(picture), caption=f"step {step}")
            self.run.log(point, step=step, commit=True)

        self._try(send)

    def close(self, record: Tracked) -> None:
        """Write the summary and finish, with a non-zero exit code unless the run finished."""
        summary = {key: value for key, value in record.summary().items() if value is not None}
        exit_code = 0 if record.status == "finished" else 1
        self._try(lambda: self.run.summary.update(summary))
        self.broken = False  # a failed log call is no reason not to finish
        self._try(lambda: self.run.finish(exit_code=exit_code))


def open_trackers(
    options: LoggerOptions, folder: Path, record: Tracked, config: dict[str, Any], tag: str
) -> list[Tracker]:
    """Return the trackers of a run, open: before anything can go wrong with it, so that they show what did.

    Args:
        options: say which.
        folder: the run folder.
        record: gives the W&B id of an earlier process of the same run, and receives it.
        config: the whole configuration, plain, for W&B.
        tag: of the run, beside those asked for.
    """
    if options.name == "none":
        return []
    trackers: list[Tracker] = [CsvHistory(folder)]
    if options.name == "wandb":
        try:
            trackers += _open_wandb(options, folder, record, config, tag)
        except Exception as error:
            log.warning("W&B could not start (%s); the run goes on without", first_line(error))
    return trackers


def _open_wandb(
    options: LoggerOptions, folder: Path, record: Tracked, config: dict[str, Any], tag: str
) -> list[WandbTracker]:
    mode, reason = wandb_mode(options)
    if mode == "disabled":
        return []
    import wandb

    record.wandb_id = record.wandb_id or secrets.token_hex(4)
    common: dict[str, Any] = {
        "project": options.project,
        "entity": options.entity,
        "group": os.environ.get(SWEEP) or group_of(folder),
        "name": folder.name,
        "id": record.wandb_id,
        "resume": "allow",
        "dir": str(folder),
        "tags": [*options.tags, tag],
        "config": {**config, "versions": record.versions, "commit": record.commit},
    }
    # Rows reach the disk every second: a kill -9 loses no more than that.
    settings: dict[str, Any] = {
        "init_timeout": INIT_SECONDS,
        "finish_timeout_raises": True,
        "x_transaction_log_flush_interval": 1.0,
        "reinit": "create_new",  # pairs of a batch have each its own, at the same time
        "console": "off",
        "silent": True,
    }
    attempts: list[Any] = [mode, "offline"]
    for attempt in dict.fromkeys(attempts):
        waits: dict[str, Any] = {"finish_timeout": FINISH_OFFLINE_SECONDS if attempt == "offline" else FINISH_SECONDS}
        try:
            run = wandb.init(**common, mode=attempt, settings=wandb.Settings(**settings, **waits))
        except Exception as error:
            log.warning("W&B could not start %s (%s)", attempt, first_line(error))
            continue
        record.wandb_id = run.id  # a W&B sweep's agent has one of its own
        run.define_metric("*", step_metric="step")  # W&B's own counter goes on counting across a resume
        if attempt == "online":
            log.info("W&B: %s", run.url)
        else:
            log.info("W&B is offline (%s); make sync uploads it later", reason or "the server did not take the run")
        return [WandbTracker(run)]
    return []


def wandb_mode(options: LoggerOptions) -> tuple[str, str]:
    """Return W&B's mode and, for offline, why: online only with a key and a server that answers at once."""
    named = os.environ.get("WANDB_MODE")
    asked = {"dryrun": "offline", "run": "online"}.get(named, named) if named else options.mode
    if asked in ("offline", "disabled"):
        return asked, "as asked"
    import wandb

    address = urllib.parse.urlsplit(str(wandb.setup().settings.base_url))
    host = address.hostname or ""
    if not _has_key(host):
        return "offline", "no API key is configured"  # online, wandb would ask for one, and wait
    if asked == "online":
        return "online", ""
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return "offline", f"{host} does not answer: {error}"
    return "online", ""


def _has_key(host: str) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def group_of(folder: Path) -> str:
    """Return the W&B group of a run folder: the sweep's path below multirun, or its folder's name."""
    parts = folder.resolve().parent.parts
    return "_".join(parts[parts.index("multirun") + 1 :] if "multirun" in parts[:-1] else parts[-1:])
