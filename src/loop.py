"""The loop: Lightning's Trainer over the steps of one run, fresh or from a checkpoint."""

import itertools
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from src.callbacks import CHECKPOINT, Captures, Checkpoints, Signals
from src.config import RunConfig, capture_steps
from src.config import Trainer as TrainerOptions
from src.errors import InputError
from src.history import Tracker
from src.interrupts import Interrupts
from src.module import StyleTransferModule
from src.preparation import Prepared
from src.progress import Progress
from src.records import RunRecord
from src.schedule import Timetable

log = logging.getLogger(__name__)

# Looking at the loss makes a GPU wait for the host; a CPU has it at hand.
GPU_CHUNK = 10


def find_device(options: TrainerOptions) -> torch.device:
    """Return the device a Trainer with these options would use.

    Raises:
        InputError: there is none of that kind.
    """
    return _trainer(options).strategy.root_device


def _trainer(options: TrainerOptions, **more: Any) -> Trainer:
    try:
        return Trainer(
            accelerator=options.accelerator,
            devices=1,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            logger=False,
            **more,
        )
    except (MisconfigurationException, RuntimeError) as error:
        raise InputError(f"trainer.accelerator={options.accelerator} cannot be used: {error}") from None


def fit(
    config: RunConfig,
    folder: Path,
    record: RunRecord,
    prepared: Prepared,
    interrupts: Interrupts,
    trackers: list[Tracker],
) -> StyleTransferModule:
    """Run the loop to its end, to a loss, or to a signal; return the module as it then is.

    Args:
        config: the options.
        folder: the run folder; a checkpoint in it is where the loop starts.
        record: updated on the way.
        prepared: canvas, objective, content.
        interrupts: asked after every step.
        trackers: open; the caller closes them.
    """
    checkpoint = folder / CHECKPOINT
    resume_step = _step_of(checkpoint) if checkpoint.exists() else -1
    on_gpu = prepared.content.device.type != "cpu"
    timetable = Timetable(
        config.steps,
        tuple(capture_steps(config.captures, config.steps)),
        config.log_every,
        config.checkpoint_every,
        chunk=GPU_CHUNK if on_gpu else 1,
    )
    record.forget_after(resume_step, timetable.captures)
    record.write(folder)
    module = StyleTransferModule(
        prepared.canvas,
        prepared.objective,
        config.optimizer,
        timetable,
        config.stop_at_loss,
        trackers,
        interrupts.requested,
    )
    for tracker in trackers:
        tracker.begin(record, resume_step)
        module.logged_step = max(module.logged_step, tracker.last_step)
    progress = Progress()
    trainer = _trainer(
        config.trainer,
        max_steps=config.steps,
        max_epochs=-1,
        callbacks=[
            Signals(interrupts),
            Captures(folder, record, prepared.content),
            Checkpoints(folder),
            progress,
        ],
        default_root_dir=folder,
    )
    ticks = itertools.repeat(0)  # one endless epoch: the steps count, not the data
    # Lightning 2.6 calls a method that torch 2.15 deprecates
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    try:
        if resume_step >= 0:
            log.info("going on at step %d of %d in %s", resume_step, config.steps, folder)
            trainer.fit(module, ticks, ckpt_path=checkpoint, weights_only=True)
        else:
            trainer.fit(module, ticks, weights_only=True)
    finally:
        progress.close()
    return module


def _step_of(checkpoint: Path) -> int:
    try:
        return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        raise InputError(f"{checkpoint} is no checkpoint ({error}); delete it to start this run anew") from None
