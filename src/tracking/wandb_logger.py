"""Log to Weights & Biases, online where the server answers, else offline.

No server delays a run by more than 10 s in all: `ANSWER_SECONDS` to test it, `INIT_SECONDS` to start the run there,
`FINISH_SECONDS` to finish it. While the run is at work wandb sends its rows from another process.
"""

import logging
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from src.common.errors import first_line
from src.config import schema
from src.tracking.loggers import Tracked
from src.tracking.names import CAPTURE
from src.tracking.sync import UNFINISHED, marker
from src.tracking.wandb_mode import wandb_mode

log = logging.getLogger(__name__)

SWEEP = "WANDB_SWEEP_ID"  # set by a W&B sweep's agent
INIT_SECONDS = 4.0
FINISH_SECONDS = 4.0


class RunWandbLogger(WandbLogger):
    """Lightning's logger, with one row per step, pictures included, and a run that is always finished.

    Lightning's own restarts its step count when a run is resumed, and leaves the run open, so that the next job of a
    sweep would be logged into it.
    """

    def __init__(self, run: Any) -> None:
        super().__init__(experiment=run)

    def begin(self, record: Tracked, resume_step: int) -> None:
        """Add what the setup found to the run's configuration."""
        self.log_hyperparams(record.found())

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:  # type: ignore[override]
        """Log one row of numbers and PIL images. It is committed at once: a kill would lose an open row."""
        import wandb

        row: dict[str, Any] = {"step": step}
        for key, value in metrics.items():
            caption = f"step {step}" if key == CAPTURE else key
            row[key] = wandb.Image(value, caption=caption) if isinstance(value, Image.Image) else value
        self.experiment.log(row, step=step, commit=True)

    def log_files(self, files: Mapping[str, Path], step: int) -> None:
        """Log further files of the result by name: models in 3D, videos and pictures."""
        import wandb

        kinds: dict[str, Any] = {".glb": wandb.Object3D, ".mp4": partial(wandb.Video, format="mp4")}
        row = {name: kinds.get(path.suffix, wandb.Image)(str(path)) for name, path in files.items()}
        self.experiment.log({"step": step, **row}, step=step + 1, commit=True)  # the row of `step` is complete

    def close(self, record: Tracked) -> None:
        """Write the summary and finish the run, with exit code 1 unless its status is finished.

        An online run whose server has all of it is no longer marked as unfinished, so `make sync` leaves it out.
        """
        import wandb

        summarised = False
        try:
            self.experiment.summary.update({key: value for key, value in record.summary().items() if value is not None})
            summarised = True
        finally:
            try:
                self.experiment.finish(exit_code=0 if record.status == "finished" else 1)
                if summarised and not self.experiment.offline:
                    unfinished(self.experiment).unlink(missing_ok=True)
            except Exception as error:
                if not self.experiment.offline:
                    log.warning("W&B has not received the whole run; `make sync` uploads it later")
                if not isinstance(error, TimeoutError):
                    # wandb's service process died; without this no later run of this process could start
                    with suppress(Exception):
                        wandb.teardown()
                raise


def unfinished(run: Any) -> Path:
    """Return the file that marks an online run whose server may lack a part of it."""
    return marker(Path(run.settings.sync_file), UNFINISHED)


def open_logger(
    options: schema.Logger, folder: Path, record: Tracked, config: dict[str, Any], tag: str
) -> RunWandbLogger | None:
    """Start a W&B run, offline where online fails; None where W&B is disabled or fails offline too.

    The arguments are those of `open_loggers`.
    """
    mode, reason = wandb_mode(options)
    if mode == "disabled":
        return None
    import wandb

    run_id = record.wandb_id or secrets.token_hex(4)
    attempts: list[Any] = [mode, "offline"]
    for attempt in dict.fromkeys(attempts):
        settings = wandb.Settings(
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS if attempt == "online" else 0,  # 0: no limit but that of `RunLoggers`
            finish_timeout_raises=True,
            x_transaction_log_flush_interval=1.0,  # s: a kill -9 loses no more than that
            reinit="create_new",  # the runs of a batch are open at the same time
            console="off",
            silent=True,
        )
        try:
            run = wandb.init(
                project=options.project,
                entity=options.entity,
                group=os.environ.get(SWEEP) or group_of(folder),
                name=folder.name,
                id=run_id,
                resume="allow",
                dir=str(folder),
                tags=[*options.tags, tag],
                config={**config, "versions": record.versions, "commit": record.commit},
                mode=attempt,
                settings=settings,
            )
        except Exception as error:
            log.warning("W&B could not start %s (%s)", attempt, first_line(error))
            reason = "the server did not take the run"
            run_id = secrets.token_hex(4)  # wandb's service keeps the id of a run that it failed to start
            continue
        record.wandb_id = run.id  # the agent of a W&B sweep sets another id
        run.define_metric("*", step_metric="step")  # W&B's own counter continues across a resume
        if attempt == "online":
            with suppress(OSError):
                unfinished(run).touch()
            log.info("W&B: %s", run.url)
        else:
            log.info("W&B is offline (%s); `make sync` uploads the run later", reason)
        return RunWandbLogger(run)
    return None


def group_of(folder: Path) -> str:
    """Return the W&B group of a run folder: the path of its sweep below multirun/, else the name of its parent."""
    parts = folder.resolve().parent.parts
    return "_".join(parts[parts.index("multirun") + 1 :] if "multirun" in parts[:-1] else parts[-1:])
