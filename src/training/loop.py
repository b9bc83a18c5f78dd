"""The loop: Lightning's Trainer over the steps of one run, fresh or from a checkpoint."""

import itertools
import logging
import warnings
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from src.common.errors import InputError
from src.common.signals import Interrupts
from src.config.schedule import Timetable, capture_steps, stages
from src.config.schema import RunConfig
from src.config.schema import Trainer as TrainerOptions
from src.tracking.record import RunRecord
from src.training.callbacks import CHECKPOINT, Checkpoints, Signals
from src.training.module import StyleTransferModule
from src.training.preparation import Preparation, Prepared
from src.training.progress import Progress
from src.training.session import Session
from src.training.staging import Staging
from src.transfer.compilation import Evaluate, compiled, decide, obstacle

log = logging.getLogger(__name__)

# Device advice and an advertisement at every start of a Trainer.
CHATTY = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero")
# Looking at the loss makes a GPU wait for the host; a CPU has it at hand.
GPU_CHUNK = 10


def find_device(options: TrainerOptions) -> torch.device:
    """Return the device a Trainer with these options would use.

    Raises:
        InputError: there is none of that kind.
    """
    return build_trainer(options).strategy.root_device


def build_trainer(options: TrainerOptions, **more: Any) -> Trainer:
    """Return a Trainer on one device that does nothing of its own accord: no files, no bar, no validation.

    Raises:
        InputError: there is no device of that kind.
    """
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Lightning 2.6 calls a method that torch 2.15 deprecates
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
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


def fit(session: Session, preparation: Preparation, interrupts: Interrupts) -> tuple[StyleTransferModule, Prepared]:
    """Run the stages to their end, to a loss, or to a signal; return the last one's module as it then is, and targets.

    Args:
        session: options, folder, record and trackers of the run; a checkpoint in the folder is where the loop starts.
        preparation: makes canvas, objective and content of each stage.
        interrupts: asked after every step.
    """
    config, record = session.config, session.record
    staging = Staging(session, preparation)
    timetable = timetable_of(config, preparation.device)
    staging.begin(timetable)
    if staging.resume_step >= 0:
        log.info("going on at step %d of %d in %s", staging.resume_step, config.steps, session.folder)

    def faster(prepared: Prepared) -> Evaluate | None:
        return compiled(prepared.objective) if compiles(config, record, prepared) else None

    progress = Progress(
        config.steps, max(0, staging.resume_step), lambda: staging.module.shown() if staging.module else (0, "")
    )
    try:
        for stage in stages(config):
            if stage.last < staging.resume_step:
                continue
            resumed = staging.resuming
            module = staging.enter(stage, timetable, interrupts.requested, faster)
            trainer = build_trainer(
                config.trainer,
                max_steps=stage.last - stage.first,
                max_epochs=-1,
                callbacks=[Signals(interrupts), progress, staging.captures(), Checkpoints(session.folder)],
                default_root_dir=session.folder,
            )
            ticks = itertools.repeat(0)  # one endless epoch: the steps count, not the data
            trainer.fit(module, ticks, ckpt_path=session.folder / CHECKPOINT if resumed else None, weights_only=True)
            if module.reached or module.non_finite_at is not None or interrupts.requested():
                break
    finally:
        progress.close()
    return module, staging.prepared


def timetable_of(config: RunConfig, device: torch.device) -> Timetable:
    """Return the steps of a run, and its pauses on a device."""
    return Timetable(
        config.steps,
        tuple(capture_steps(config.captures, config.steps)),
        config.log_every,
        config.checkpoint_every,
        chunk=GPU_CHUNK if device.type != "cpu" else 1,
    )


def compiles(config: RunConfig, record: RunRecord, prepared: Prepared) -> bool:
    """Return whether to compile, as was decided when the run began."""
    image = prepared.canvas.normalized()
    if prepared.objective.recomputed.blocks:
        if config.trainer.compile == "always":
            log.info("not compiled: not every layer is kept (trainer.memory=whole keeps them)")
        return False
    if record.compiled is None:
        asked = config.trainer.compile
        record.compiled = decide(asked, prepared.objective, image, record.precision, config.steps, len(stages(config)))
    elif record.compiled and (reason := obstacle(image.device)):
        log.info("this run was compiled before, and goes on without: %s", reason)
        return False
    return record.compiled
