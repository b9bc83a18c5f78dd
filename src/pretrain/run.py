"""Run a pretraining from a configuration to a file of weights; run again in the same folder, it resumes."""

import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from src.common.errors import InputError, Interrupted, NonFiniteLoss
from src.common.files import atomic_file, sole_writer, write_atomically
from src.common.platform import cpu_threads, device_name
from src.common.signals import Interrupts
from src.encoders.registry import VGGSpec, encoder_spec
from src.pretrain import record as records
from src.pretrain.config import NON_IDENTITY_FIELDS, PretrainConfig, check
from src.pretrain.crops import Crops, batches_from, find_pictures
from src.pretrain.inheritance import inherit
from src.pretrain.module import PretrainModule
from src.pretrain.record import PretrainRecord
from src.pretrain.teacher import VGGTeacher, build_teacher
from src.tracking import provenance
from src.tracking.loggers import RunLoggers, open_loggers
from src.training.checkpoints import CHECKPOINT, unusable
from src.training.loop import build_trainer, find_device
from src.training.progress import Progress

log = logging.getLogger(__name__)

BACKBONE = "embedded"
WEIGHTS = "embedded.safetensors"
# Crops on which a teacher's filters are fitted: large, so that the deepest taps have positions away from the border.
FITTING_SIZE, FITTING_BATCH = 128, 20


def pretrain(config: PretrainConfig, folder: Path) -> PretrainRecord:
    """Train the embedded backbone and write `folder/embedded.safetensors`, which `backbone.weights=PATH` takes.

    If the folder holds the same training, it resumes from the last checkpoint; a finished one is left as it is.

    Raises:
        InputError: an option or a file cannot be used, or the folder holds another training.
        NonFiniteLoss: the loss became NaN or infinite; no weights are written.
        Interrupted: SIGINT or SIGTERM; the checkpoint is written.
    """
    check(config)
    with Interrupts() as interrupts, sole_writer(folder), cpu_threads(config.trainer.threads):
        record = _open_record(config, folder)
        if record.status == "finished":
            log.info("already finished: %s", folder)
            return record
        record.device, record.threads = device_name(find_device(config.trainer)), torch.get_num_threads()
        paths = find_pictures(config.images or "")
        log.info("reading %d pictures", len(paths))
        crops = Crops(paths, config)
        torch.manual_seed(config.seed)
        spec = encoder_spec(BACKBONE)
        assert isinstance(spec, VGGSpec)
        teacher = None
        if config.teacher != "none":
            teacher, record.teacher_sha256 = build_teacher(config.teacher, config.teacher_weights, spec)
        module = PretrainModule(spec, config, crops.classes, teacher)
        if isinstance(teacher, VGGTeacher) and config.inherit and not (folder / CHECKPOINT).exists():
            log.info("fitting the first weights to %s on %d crops", config.teacher, config.inherit)
            device = find_device(config.trainer)
            fitting = [images.to(device) for images in _fitting_crops(crops, config.inherit)]
            record.inherited = inherit(module.trunk.to(device), teacher.network.to(device), fitting)
        record.pictures = len(crops.pictures)
        record.parameters = sum(each.numel() for each in module.trunk.parameters())
        with _tracked(config, folder, record) as loggers:
            _fit(module, crops, folder, record, loggers, interrupts)
            _write_weights(module, folder, record)
    return record


def _fitting_crops(crops: Crops, count: int) -> list[Tensor]:
    larger = crops.resized(FITTING_SIZE, FITTING_BATCH)
    return [larger[number].images for number in range(-(-count // FITTING_BATCH))]


def _open_record(config: PretrainConfig, folder: Path) -> PretrainRecord:
    plain = dataclasses.asdict(config)
    record = records.read(folder)
    if record is None:
        return PretrainRecord(config=plain)
    # An option that is newer than the record had its default.
    recorded = {**dataclasses.asdict(PretrainConfig()), **record.config}
    differing = sorted(key for key in plain if key not in NON_IDENTITY_FIELDS and plain[key] != recorded[key])
    if differing:
        raise InputError(
            f"{folder} holds another training (it differs in {', '.join(differing)}); choose another folder with "
            "hydra.run.dir=DIR"
        )
    return record


@contextmanager
def _tracked(config: PretrainConfig, folder: Path, record: PretrainRecord) -> Iterator[RunLoggers]:
    """Open the loggers; at the end, record how the training ended and close them."""
    record.status, record.error, record.ended = "running", None, None
    record.write(folder)
    loggers = open_loggers(config.logger, folder, record, dataclasses.asdict(config), "pretraining")
    try:
        yield loggers
        record.status = "finished"
    except (Interrupted, KeyboardInterrupt):
        record.status = "interrupted"
        raise
    except BaseException as error:
        record.status, record.error = "failed", str(error) or type(error).__name__
        raise
    finally:
        record.ended = provenance.timestamp()
        try:
            record.write(folder)
        finally:
            loggers.close(record)


def _fit(
    module: PretrainModule,
    crops: Crops,
    folder: Path,
    record: PretrainRecord,
    loggers: RunLoggers,
    interrupts: Interrupts,
) -> None:
    options, checkpoint = module.options, folder / CHECKPOINT
    step, batches = _saved_counts(folder)
    if step >= 0:
        log.info("resuming at step %d of %d in %s", step, options.steps, folder)
    watch = _Watch(folder, record, loggers, step, interrupts)
    progress = Progress(options.steps, max(0, step), lambda: (module.global_step, module.described()))
    trainer = build_trainer(
        options.trainer,
        max_steps=options.steps,
        max_epochs=-1,
        callbacks=[watch, progress],
        default_root_dir=folder,
        io=AtomicCheckpoints(),
    )
    try:
        data = batches_from(crops, batches, find_device(options.trainer))
        trainer.fit(module, data, ckpt_path=checkpoint if step >= 0 else None, weights_only=True)
    except Exception as error:
        if step < 0 or watch.started:
            raise
        raise unusable(folder, error) from error
    finally:
        progress.close()
    if interrupts.received is not None and module.global_step < options.steps:
        raise Interrupted(interrupts.received, record.command)


def _saved_counts(folder: Path) -> tuple[int, int]:
    """Return the optimiser steps (-1: there is no checkpoint) and batches of the checkpoint in a folder."""
    path = folder / CHECKPOINT
    if not path.exists():
        return -1, 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return int(state["global_step"]), int(state["state_dict"]["batches"])
    except Exception as error:  # torch raises many types for a damaged file
        raise unusable(folder, error) from None


class AtomicCheckpoints(TorchCheckpointIO):
    """Write checkpoints whole or not at all; Lightning's own way may copy from another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a checkpoint."""
        with atomic_file(Path(path)) as file:
            torch.save(checkpoint, file)


def _write_weights(module: PretrainModule, folder: Path, record: PretrainRecord) -> None:
    data = safetensors.torch.save({key: value.half().contiguous() for key, value in module.trunk.folded().items()})
    write_atomically(folder / WEIGHTS, data)
    record.weights_sha256 = hashlib.sha256(data).hexdigest()
    log.info("%s: %.1f MB, sha256 %s", folder / WEIGHTS, len(data) / 1e6, record.weights_sha256)


class _Watch(Callback):
    """Log points, save checkpoints, and stop at a signal.

    Args:
        folder: the run folder.
        record: updated at each point, written at each checkpoint.
        loggers: open.
        step: where the training resumes; -1 for a new one.
        interrupts: asked after every batch.
    """

    def __init__(
        self, folder: Path, record: PretrainRecord, loggers: RunLoggers, step: int, interrupts: Interrupts
    ) -> None:
        self.folder, self.record, self.loggers, self.interrupts = folder, record, loggers, interrupts
        self.step = self.logged = step
        self.started = 0.0

    def on_train_start(self, trainer: Trainer, module: PretrainModule) -> None:  # type: ignore[override]
        """Tell the loggers where the training starts."""
        self.started = time.perf_counter() - self.record.seconds
        self.interrupts.listen()  # Lightning's own SIGTERM handler would exit with status 0
        self.loggers.begin(self.record, self.step)
        self.logged = self.loggers.last_step

    def on_train_batch_end(self, trainer: Trainer, module: PretrainModule, *_: Any) -> None:  # type: ignore[override]
        """Log and save if due after this batch."""
        options, batches = module.options, int(module.batches)
        if self.interrupts.requested():
            trainer.should_stop = True
        last = trainer.should_stop or module.global_step >= options.steps
        if (last or batches % options.log_every == 0) and module.global_step > self.logged:
            self._log(module)
        if last or batches % options.checkpoint_every == 0:
            trainer.save_checkpoint(self.folder / CHECKPOINT, weights_only=False)
            self.record.write(self.folder)

    def _log(self, module: PretrainModule) -> None:
        record, step = self.record, module.global_step
        values = {key: float(value) for key, value in module.latest.items()}
        if not all(map(math.isfinite, values.values())):
            raise NonFiniteLoss(f"the loss was not finite at step {step}; a smaller lr, or precision=32, may help")
        record.values, record.step, record.batches = values, step, int(module.batches)
        record.seconds = time.perf_counter() - self.started
        self.logged = step
        self.loggers.log_point({**values, "lr": module.learning_rate(step - 1)}, step)
