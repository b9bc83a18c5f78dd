"""The loop: Lightning's Trainer over the steps of one run, fresh or from a checkpoint."""

import itertools
import logging
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from src import quality
from src.callbacks import CHECKPOINT, Captures, Checkpoints, Signals
from src.compiling import compiled, decide, obstacle
from src.config import RunConfig
from src.config import Trainer as TrainerOptions
from src.economy import Economy, sparingly
from src.errors import InputError
from src.history import Tracker
from src.interrupts import Interrupts
from src.module import StyleTransferModule
from src.objective import Objective
from src.preparation import Preparation, Prepared
from src.progress import Progress
from src.records import RunRecord
from src.schedule import Timetable, capture_steps, stages

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


def fit(
    config: RunConfig,
    folder: Path,
    record: RunRecord,
    preparation: Preparation,
    interrupts: Interrupts,
    trackers: list[Tracker],
) -> tuple[StyleTransferModule, Prepared]:
    """Run the stages to their end, to a loss, or to a signal; return the last one's module as it then is, and targets.

    Args:
        config: the options.
        folder: the run folder; a checkpoint in it is where the loop starts.
        record: updated on the way.
        preparation: makes canvas, objective and content of each stage.
        interrupts: asked after every step.
        trackers: open; the caller closes them.
    """
    resume_step, held = left_off(folder)
    timetable = timetable_of(config, preparation.device)
    record.forget_after(resume_step, timetable.captures)
    record.write(folder)
    for tracker in trackers:
        tracker.begin(record, resume_step)
    if resume_step >= 0:
        log.info("going on at step %d of %d in %s", resume_step, config.steps, folder)
    module: StyleTransferModule | None = None
    progress = Progress(config.steps, max(0, resume_step), lambda: module.shown() if module else (0, ""))
    try:
        for stage in stages(config):
            if stage.last < resume_step:
                continue
            before = module
            resumed = before is None and resume_step > 0
            image = before.canvas.picture() if before else None
            footprint = preparation.footprint(stage.edge, begun=resumed or image is not None)
            economy = Economy(footprint, config.trainer.memory, preparation.device, record.memory.get(str(stage.edge)))
            economy.announce()
            prepare = partial(_prepare, preparation, economy, record, stage.edge, image, resumed)
            prepared = sparingly(prepare, economy.step_down)
            module = StyleTransferModule(
                prepared.canvas,
                prepared.objective,
                config.optimizer,
                timetable,
                stage,
                config.stop_at_loss,
                trackers,
                compiled(prepared.objective) if compiles(config, record, prepared) else None,
                interrupts.requested,
                partial(sparingly, step_down=partial(_step_down, economy, record, stage.edge, prepared.objective)),
            )
            record.write(folder)
            module.logged_step = max([-1, *(tracker.last_step for tracker in trackers)])
            if before:
                module.take_over(before, config.schedule.carry)
            if resumed:
                check_shapes(folder, held, module)
            _fit_stage(module, folder, record, prepared, config, [Signals(interrupts), progress], resumed)
            if module.reached or module.non_finite_at is not None or interrupts.requested():
                break
    finally:
        progress.close()
    assert module is not None
    return module, prepared


def timetable_of(config: RunConfig, device: torch.device) -> Timetable:
    """Return the steps of a run, and its pauses on a device."""
    return Timetable(
        config.steps,
        tuple(capture_steps(config.captures, config.steps)),
        config.log_every,
        config.checkpoint_every,
        chunk=GPU_CHUNK if device.type != "cpu" else 1,
    )


def _prepare(
    preparation: Preparation, economy: Economy, record: RunRecord, edge: int, image: Tensor | None, resumed: bool
) -> Prepared:
    record.memory[str(edge)] = economy.noted()
    return preparation.at(edge, image, resumed, economy.recomputed)


def _step_down(economy: Economy, record: RunRecord, edge: int, objective: Objective, error: BaseException) -> bool:
    if not economy.step_down(error):
        return False
    objective.recomputed = economy.recomputed
    record.memory[str(edge)] = economy.noted()
    return True


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


def _fit_stage(
    module: StyleTransferModule,
    folder: Path,
    record: RunRecord,
    prepared: Prepared,
    config: RunConfig,
    callbacks: list[Callback],
    resumed: bool,
) -> None:
    trainer = build_trainer(
        config.trainer,
        max_steps=module.stage.last - module.stage.first,
        max_epochs=-1,
        callbacks=[*callbacks, captures_of(config, folder, record, prepared), Checkpoints(folder)],
        default_root_dir=folder,
    )
    ticks = itertools.repeat(0)  # one endless epoch: the steps count, not the data
    trainer.fit(module, ticks, ckpt_path=folder / CHECKPOINT if resumed else None, weights_only=True)


def captures_of(config: RunConfig, folder: Path, record: RunRecord, prepared: Prepared) -> Captures:
    """Return what keeps the pictures of a stage, and judges the last of them."""
    judge = partial(quality.judge, record, config, content=prepared.content, style=prepared.style)
    return Captures(folder, record, prepared.content, judge)


def left_off(folder: Path) -> tuple[int, dict[str, torch.Size]]:
    """Return the step of a folder's checkpoint, and the shapes of what it keeps; -1 and none without one."""
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists():
        return -1, {}
    saved = read_checkpoint(checkpoint)
    return saved["counters"]["step"], _shapes(saved["state_dict"])


def check_shapes(folder: Path, held: Mapping[str, torch.Size], module: StyleTransferModule) -> None:
    """Check that a stage can go on from a checkpoint that holds these shapes.

    Raises:
        InputError: it was written for another kind of canvas.
    """
    if held != _shapes(module.state_dict()):
        raise InputError(
            f"{folder / CHECKPOINT} is of another version of this program; delete it to start this run anew"
        )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Return what a checkpoint holds.

    Raises:
        InputError: the file is none.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        assert isinstance(state["global_step"], int)
        return state
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        raise InputError(f"{checkpoint} is no checkpoint ({error}); delete it to start this run anew") from None
