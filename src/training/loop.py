"""The loop: Lightning's Trainer over the stages of a batch of runs, from the beginning or from checkpoints."""

import gc
import itertools
import logging
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from src.common.errors import InputError, first_line
from src.common.signals import Interrupts
from src.config.schedule import Stage, Timetable, capture_steps, stages
from src.config.schema import Device, RunConfig
from src.data.sources import VIEWS
from src.training import checkpoints
from src.training.callbacks import Pauses, finish
from src.training.checkpoints import CHECKPOINT, PairCheckpoints
from src.training.memory import out_of_memory, retry_smaller
from src.training.module import StyleTransferModule
from src.training.progress import Progress
from src.training.setup import PreparedRun
from src.transfer.compilation import compiled, decide, obstacle
from src.transfer.image_models.registry import build_image_model

log = logging.getLogger(__name__)

# Loggers that print device advice and an advertisement at every start of a Trainer.
CHATTY = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero")
# Steps between looks at the loss on a GPU, which synchronise it with the host. A CPU looks at every step.
GPU_CHUNK = 10


def find_device(options: Device) -> torch.device:
    """Return the device that a Trainer with these options would use.

    Raises:
        InputError: there is none of that kind.
    """
    return build_trainer(options).strategy.root_device


def build_trainer(options: Device, io: CheckpointIO | None = None, **more: Any) -> Trainer:
    """Return a Trainer of one process on one device, without Lightning's own files, bars and validation.

    In a Slurm job Lightning would take part in distributed training, and put the job back into the queue.

    Args:
        options: device.
        io: writes and reads checkpoints.
        more: further arguments of the Trainer.

    Raises:
        InputError: there is no device of that kind.
    """
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # pytorch-lightning 2.6 calls a method that torch 2.15 deprecates
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message="The `srun` command is available")
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
            plugins=[LightningEnvironment(), io] if io else [LightningEnvironment()],
            **more,
        )
    except (MisconfigurationException, RuntimeError) as error:
        raise InputError(f"trainer.accelerator={options.accelerator} cannot be used: {error}") from None


def fit(
    runs: Sequence[PreparedRun], interrupts: Interrupts, at_once: int | None = None, bar: bool | None = None
) -> None:
    """Run the stages of a batch to their end; every run is closed when this returns.

    Args:
        runs: opened, of one size, at the same step and stage, with equal options but those that `grouping` lets differ.
        interrupts: asked after every step.
        at_once: pairs evaluated together; None is all on a GPU and one on a CPU.
        bar: show a progress bar; None does so on a terminal.
    """
    first = runs[0]
    config, device, resume_step = first.context.config, first.device, first.resume_step
    timetable = timetable_of(config, device)
    for run in runs:
        with run.context.guard():
            _begin(run, timetable, len(runs))
    module: StyleTransferModule | None = None
    progress = Progress(config.steps, max(0, resume_step), lambda: module.status() if module else (0, ""), bar)
    try:
        for stage in stages(config):
            if stage.first < first.resume_stage:
                continue
            resuming = module is None and resume_step > 0
            starts: dict[PreparedRun, Tensor] = {}
            pictures = _pictures(module, first.device, warm=stage.turn > 0)
            for run in _active(runs):
                with run.context.guard():
                    starts[run] = run.enter(stage, pictures.get(run.pair), fresh=not resuming)
                    run.announce_memory(stage)
            first.shared.targets.clear()
            members = _active(list(starts))
            if not members:
                break
            begun = torch.cat([starts[run] for run in members])
            following = _build_module(members, begun, stage, timetable, at_once, interrupts)
            if module is not None and config.optimizer.name == "adam" and (config.schedule.carry or stage.turn):
                following.carry_moments(module)
            module = following
            if stage.turn:
                gc.collect()  # Lightning's modules hold on to their trainers in cycles
            pauses = Pauses(module, {run.pair: run for run in members}, interrupts)
            for run in members:
                with run.context.guard():
                    run.context.record.write(run.context.folder)
            trainer = build_trainer(
                config.trainer,
                max_steps=stage.last - stage.first,
                max_epochs=-1,
                callbacks=[progress, pauses],
                default_root_dir=first.context.folder,
                io=PairCheckpoints(pauses.save, pauses.load),
            )
            # One endless epoch: the steps count, not the data. The path only tells Lightning to resume: PairCheckpoints
            # hands over what `setup` has read.
            ticks = itertools.repeat(0)
            try:
                trainer.fit(module, ticks, ckpt_path=CHECKPOINT if resuming else None, weights_only=True)
            except Exception as error:  # Lightning raises many types for entries of its own that do not fit
                if not resuming or module.restored or isinstance(error, InputError) or out_of_memory(error):
                    raise
                if len(members) > 1:
                    raise InputError(
                        f"a checkpoint of these {len(members)} runs cannot be used ({first_line(error)}); resume them "
                        "one by one to find out which"
                    ) from None
                raise checkpoints.unusable(first.context.folder, error) from None
            if interrupts.requested():
                break
        for run in _active(runs):
            finish(run, interrupts)
    finally:
        progress.close()


def _build_module(
    runs: Sequence[PreparedRun],
    start: Tensor,
    stage: Stage,
    timetable: Timetable,
    at_once: int | None,
    interrupts: Interrupts,
) -> StyleTransferModule:
    """Return the module of a stage.

    Args:
        runs: that have entered the stage.
        start: (B, 3, H, W), their starting images.
        stage: the next one.
        timetable: of the runs.
        at_once: as for `fit`.
        interrupts: as for `fit`.
    """
    first = runs[0]
    config, device, step_down = first.context.config, first.device, partial(_step_down, runs)
    image = build_image_model(config, start, first.encoder, first.sheet).to(device)
    rendered = image.render().detach()
    compiling = retry_smaller(partial(_decide_to_compile, runs, rendered), step_down, device)
    return StyleTransferModule(
        image,
        [run.pair for run in runs],
        config.optimizer,
        timetable,
        stage,
        rematch=config.loss.rematch,
        jump=config.loss.jump,
        at_once=None if compiling else min(len(runs), at_once or default_at_once(device, len(runs))),
        compiler=compiled if compiling else None,
        not_compiled=partial(_not_compiled, runs),
        stop_requested=interrupts.requested,
        step_down=step_down,
    )


def default_at_once(device: torch.device, pairs: int) -> int:
    """Return how many pairs are evaluated together: all on a GPU; one on a CPU, where each run is as alone."""
    return 1 if device.type == "cpu" else pairs


def timetable_of(config: RunConfig, device: torch.device) -> Timetable:
    """Return the steps of a run and its pauses on a device."""
    return Timetable(
        config.steps,
        tuple(capture_steps(config.captures, config.steps)),
        config.log_every,
        config.checkpoint_every,
        config.preview_every,
        chunk=GPU_CHUNK if device.type != "cpu" else 1,
    )


def _begin(run: PreparedRun, timetable: Timetable, batch: int) -> None:
    """Bring record, pictures and loggers to the step that the run resumes from."""
    context = run.context
    context.record.batch = batch
    dropped = context.record.forget_after(run.resume_step, timetable.captures)
    context.record.write(context.folder)
    for capture in dropped:
        (context.folder / capture.file).unlink(missing_ok=True)
    begins = run.resume_step <= context.record.continued_step  # rows up to that step are another run's
    pictures = {kind: file.path for kind, file in context.files.items() if kind != VIEWS} if begins else {}
    context.loggers.begin(context.record, run.resume_step, pictures)
    run.pair.loggers = context.loggers
    run.pair.logged_step = context.loggers.last_step
    if begins and run.resume_step >= 0:
        log.info("this run continues %s", context.record.continued_from)
    if run.resume_step >= 0:
        log.info("resuming at step %d of %d in %s", run.resume_step, timetable.steps, context.folder)


def _active(runs: Sequence[PreparedRun]) -> list[PreparedRun]:
    return [run for run in runs if not run.context.ended]


def _pictures(module: StyleTransferModule | None, device: torch.device, warm: bool) -> dict[Any, Tensor]:
    """Return the result of a stage by pair, (1, 3, H, W) each.

    Args:
        module: of the stage; None: there is none yet.
        device: of the run. Lightning has moved the module to the CPU at the end of its stage.
        warm: the next stage has the same size, so its first evaluations count in the throughput.
    """
    if module is None:
        return {}
    pictures = module.image.picture().to(device)
    for pair in module.active.values():
        pair.counters.seconds = pair.seconds
        if not warm or module.compiler:
            pair.counters.throughput.warmed = 0
    return {pair: pictures[sample : sample + 1] for sample, pair in module.active.items()}


def _step_down(runs: Sequence[PreparedRun], error: BaseException) -> bool:
    return all(run.step_down(error) for run in runs)


def _not_compiled(runs: Sequence[PreparedRun], reason: str) -> None:
    """Log why runs continue without the compiler, and record it; later stages and processes do not compile either."""
    log.info("not compiled: %s", reason)
    for run in runs:
        run.context.record.compiled = False


def _decide_to_compile(runs: Sequence[PreparedRun], image: Tensor) -> bool:
    """Return whether to compile the objective, as decided at the beginning of the run; the records say so."""
    first = runs[0]
    config, record, objective = first.context.config, first.context.record, first.pair.objective
    if objective.checkpointing.blocks:
        if config.trainer.compile == "always":
            log.info("not compiled: activations are checkpointed (trainer.memory=whole keeps them)")
        decided = False
    elif record.compiled is None:
        sizes = len(stages(config))
        decided = decide(config.trainer.compile, objective, image[:1], record.precision, config.steps, sizes)
    elif record.compiled and (reason := obstacle(image.device)):
        log.info("this run was compiled before and continues without: %s", reason)
        decided = False
    else:
        decided = record.compiled
    for run in runs:
        run.context.record.compiled = decided
    return decided
