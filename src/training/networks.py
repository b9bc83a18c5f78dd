"""Train the weights of a network: record, loggers, checkpoints, resuming.

Pretraining and distillation use it; a style transfer, whose parameters are an image, has a loop of its own.
"""

import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from src.common.errors import OTHER_FOLDER, InputError, NonFiniteLoss
from src.common.files import atomic_file, expanded, write_atomically
from src.common.signals import Interrupts
from src.config.identity import differing
from src.config.schema import Device, Logger
from src.data.sources import sha256_of
from src.tracking.loggers import RunLoggers
from src.tracking.record import parse
from src.tracking.training_record import TrainingRecord
from src.training.checkpoints import CHECKPOINT, unusable
from src.training.loop import build_trainer, find_device
from src.training.memory import out_of_memory
from src.training.progress import Progress

log = logging.getLogger(__name__)

Record = TypeVar("Record", bound=TrainingRecord)
# Returns the batches from a number on, for a device.
Batches = Callable[[int, torch.device], Iterable[Any]]


class TrainingOptions(Protocol):
    """Options that every training of a network has."""

    logger: Logger
    steps: int
    lr: float
    warmup: float
    log_every: int
    checkpoint_every: int

    @property
    def trainer(self) -> Device:
        """The configuration group `trainer`."""


class NetworkModule(pl.LightningModule):
    """Base of the modules that train a network, under manual optimisation.

    The number of batches used is part of the checkpoint, so that a resumed training continues with the next one.

    Args:
        options: of the training.

    Attributes:
        batches: number of batches used.
        shown: name of the metric that the progress display shows.
        latest: metrics of the latest step by name.
    """

    shown = "train/loss"

    def __init__(self, options: TrainingOptions) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.options: Any = options
        self.batches = 0
        self.latest: dict[str, Tensor] = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the number of batches."""
        checkpoint["batches"] = self.batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the number of batches."""
        self.batches = _take_batches(checkpoint)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate at a step: linear warm-up, then half a cosine to zero."""
        warm = max(1, round(self.options.warmup * self.options.steps))
        if step < warm:
            return self.options.lr * (step + 1) / warm
        done = (step - warm) / max(1, self.options.steps - warm)
        return self.options.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def described(self) -> str:
        """Return the latest loss as text for the progress display."""
        loss = self.latest.get(self.shown)
        return "" if loss is None else f"loss {float(loss):.3f}"


def open_record(
    config: Any,
    folder: Path,
    schema: type[Record],
    not_identity: Collection[str],
    weights: str,
) -> Record:
    """Return the record of a folder, or a new one.

    Args:
        config: a dataclass, the options of the training.
        folder: of the training.
        schema: class of the record.
        not_identity: options that may change between a training and its continuation.
        weights: name of the file that the training writes.

    Raises:
        InputError: the folder holds another training, or files that the training would take for its own.
    """
    plain = dataclasses.asdict(config)
    record = schema.read(folder)
    if record is None:
        if foreign := [name for name in (CHECKPOINT, weights) if (folder / name).exists()]:
            raise InputError(f"{folder} holds {' and '.join(foreign)} of another training; {OTHER_FOLDER}")
        return schema(config=plain)
    try:  # an option that is newer than the record had its default
        recorded = dataclasses.asdict(parse(type(config), record.config, "config"))
    except ValueError as error:
        raise InputError(f"{folder} holds another training ({error}); {OTHER_FOLDER}") from None
    mine, theirs = ({key: each[key] for key in plain if key not in not_identity} for each in (plain, recorded))
    if differ := differing(mine, theirs):
        raise InputError(f"{folder} holds another training (it differs in {differ}); {OTHER_FOLDER}")
    return record


def check_pictures(record: TrainingRecord, paths: Iterable[Path], images: str) -> None:
    """Refuse pictures that have changed since the training began, and record their checksum (names and bytes).

    Hashing is cheap compared with decoding.

    Args:
        record: of the training; holds the checksum from its beginning where it resumes.
        paths: all pictures of the folder.
        images: the folder.

    Raises:
        InputError: a picture has changed, is new, or is missing since the training began.
    """
    folder, digest = expanded(images), hashlib.sha256()
    for path in paths:
        try:
            told = sha256_of(path)
        except OSError as error:  # skipped when pictures are read
            told = error.strerror or "unreadable"
        digest.update(f"{path.relative_to(folder)}\0{told}\n".encode(errors="surrogateescape"))
    if record.pictures_sha256 not in (None, digest.hexdigest()):
        raise InputError(
            f"the pictures in images={images} are not those that this training began with; put them back, or "
            f"{OTHER_FOLDER}"
        )
    record.pictures_sha256 = digest.hexdigest()


def train(
    module: NetworkModule,
    batches_from: Batches,
    folder: Path,
    record: TrainingRecord,
    loggers: RunLoggers,
    interrupts: Interrupts,
) -> None:
    """Train a module to its last step, from the checkpoint of its folder where there is one.

    Raises:
        InputError: the checkpoint cannot be used.
        NonFiniteLoss: the loss became NaN or infinite.
        Interrupted: SIGINT or SIGTERM; the checkpoint is written.
    """
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
        data = batches_from(batches, find_device(options.trainer))
        trainer.fit(module, data, ckpt_path=checkpoint if step >= 0 else None, weights_only=True)
    except Exception as error:
        if step < 0 or watch.started or isinstance(error, InputError) or out_of_memory(error):
            raise
        raise unusable(folder, error) from error
    finally:
        progress.close()
    if module.global_step < options.steps:
        interrupts.check()


def write_weights(
    path: Path, weights: Mapping[str, Tensor], record: TrainingRecord, metadata: dict[str, str] | None = None
) -> None:
    """Write weights in float16 by safetensors, whole or not at all, and record their checksum.

    The record is written after the weights: weights whose checksum it does not hold are not this training's result.

    Raises:
        NonFiniteLoss: a weight is NaN, infinite, or too large for float16; no file is written.
    """
    import safetensors.torch

    halves = {key: value.half().contiguous() for key, value in weights.items()}
    if bad := _not_finite(halves):
        raise NonFiniteLoss(f"the weights {bad} are not finite in float16; a smaller lr, or precision=32, may help")
    data = safetensors.torch.save(halves, metadata)
    write_atomically(path, data)
    record.weights_sha256 = hashlib.sha256(data).hexdigest()
    record.write(path.parent)
    log.info("%s: %.1f MB, sha256 %s", path, len(data) / 1e6, record.weights_sha256)


def holds_result(path: Path, record: TrainingRecord) -> bool:
    """Return whether a file holds the weights that a training has written, by their checksum in the record."""
    return path.is_file() and sha256_of(path) == record.weights_sha256


def _not_finite(values: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor with a value that is NaN or infinite; None: all are finite."""
    return next((name for name, value in values.items() if not value.isfinite().all()), None)


def _saved_counts(folder: Path) -> tuple[int, int]:
    """Return the optimiser steps (-1: there is no checkpoint) and batches of the checkpoint in a folder."""
    path = folder / CHECKPOINT
    if not path.exists():
        return -1, 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return int(state["global_step"]), _take_batches(state)
    except Exception as error:  # torch raises many types for a damaged file
        raise unusable(folder, error) from None


def _take_batches(checkpoint: dict[str, Any]) -> int:
    """Return the number of batches of a checkpoint; earlier versions had it among the weights, where it is removed."""
    earlier = checkpoint["state_dict"].pop("batches", None)
    return int(checkpoint["batches"] if earlier is None else earlier)


class AtomicCheckpoints(TorchCheckpointIO):
    """Write checkpoints whole or not at all; Lightning's own way may copy from another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a checkpoint."""
        with atomic_file(Path(path)) as file:
            torch.save(checkpoint, file)


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
        self, folder: Path, record: TrainingRecord, loggers: RunLoggers, step: int, interrupts: Interrupts
    ) -> None:
        self.folder, self.record, self.loggers, self.interrupts = folder, record, loggers, interrupts
        self.step = self.logged = step
        self.started = 0.0

    def on_train_start(self, trainer: Trainer, module: NetworkModule) -> None:  # type: ignore[override]
        """Tell the loggers where the training starts."""
        self.started = time.perf_counter() - self.record.seconds
        self.interrupts.listen()  # Lightning's own SIGTERM handler would exit with status 0
        self.loggers.begin(self.record, self.step)
        self.logged = self.loggers.last_step
        self.record.write(self.folder)  # with the W&B run's id, which a process that is killed must leave behind

    def on_train_batch_end(self, trainer: Trainer, module: NetworkModule, *_: Any) -> None:  # type: ignore[override]
        """Log and save if due after this batch."""
        options, batches = module.options, module.batches
        if self.interrupts.requested():
            trainer.should_stop = True
        last = trainer.should_stop or module.global_step >= options.steps
        logs = (last or batches % options.log_every == 0) and module.global_step > self.logged
        saves = last or batches % options.checkpoint_every == 0
        if logs or saves:
            self._check_finite(module)
        if logs:
            self._log(module)
        if saves:
            trainer.save_checkpoint(self.folder / CHECKPOINT, weights_only=False)
            self.record.write(self.folder)

    def _check_finite(self, module: NetworkModule) -> None:
        """Raise before a non-finite loss or weight is saved, so that the previous checkpoint is kept."""
        for what, values in (("loss", module.latest), ("network", module.state_dict())):
            if _not_finite(values):
                raise NonFiniteLoss(
                    f"the {what} was not finite at step {module.global_step}; a smaller lr, or precision=32, may help"
                )

    def _log(self, module: NetworkModule) -> None:
        record, step = self.record, module.global_step
        values = {key: float(value) for key, value in module.latest.items()}
        record.values, record.step, record.batches = values, step, module.batches
        record.seconds = time.perf_counter() - self.started
        self.logged = step
        self.loggers.log_point({**values, "lr": module.learning_rate(step - 1)}, step)
