"""One pretraining, from a configuration to a file of weights; started again in its folder, it goes on."""

import dataclasses
import hashlib
import logging
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pytorch_lightning import Callback, Trainer

from src.common.errors import InputError, Interrupted
from src.common.files import sole_writer, write_atomically
from src.common.platform import device_name, use_threads
from src.common.signals import Interrupts
from src.encoders.registry import architecture
from src.pretrain import record as records
from src.pretrain.config import NON_IDENTITY_FIELDS, PretrainConfig, check
from src.pretrain.crops import CropOptions, Crops, find_pictures
from src.pretrain.module import PretrainModule
from src.pretrain.record import PretrainRecord
from src.tracking import provenance
from src.tracking.csv_logger import Tracker
from src.tracking.wandb_logger import open_trackers
from src.training.callbacks import CHECKPOINT, Signals, save_checkpoint
from src.training.loop import build_trainer
from src.training.progress import Progress
from src.training.staging import read_checkpoint

log = logging.getLogger(__name__)

BACKBONE = "embedded"
WEIGHTS = "embedded.safetensors"


def pretrain(config: PretrainConfig, folder: Path) -> PretrainRecord:
    """Train the embedded backbone; `folder/embedded.safetensors` is what `backbone.weights=PATH` takes.

    A folder that holds this very training is gone on with from its last checkpoint, or left as it is when finished.

    Raises:
        InputError: something given cannot be used, or the folder holds another training.
        Interrupted: SIGINT or SIGTERM; the checkpoint is written.
    """
    check(config)
    with Interrupts() as interrupts, sole_writer(folder):
        record = _claim(config, folder)
        if record.status == "finished":
            log.info("already finished: %s", folder)
            return record
        record.status, record.error, record.ended = "running", None, None
        record.write(folder)
        trackers: list[Tracker] = []
        try:
            trackers += open_trackers(config.logger, folder, record, dataclasses.asdict(config), "pretraining")
            _train(config, folder, record, interrupts, trackers)
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
                for tracker in trackers:
                    tracker.close(record)
        return record


def _claim(config: PretrainConfig, folder: Path) -> PretrainRecord:
    plain = dataclasses.asdict(config)
    record = records.read(folder)
    if record is None:
        return PretrainRecord(config=plain)
    differing = sorted(key for key in plain if key not in NON_IDENTITY_FIELDS and plain[key] != record.config.get(key))
    if differing:
        raise InputError(
            f"{folder} holds another training (it differs in {', '.join(differing)}); choose another folder with "
            "hydra.run.dir=DIR"
        )
    return record


def _train(
    config: PretrainConfig, folder: Path, record: PretrainRecord, interrupts: Interrupts, trackers: list[Tracker]
) -> None:
    paths = find_pictures(Path(config.images or "").expanduser())
    use_threads(config.trainer.threads)
    torch.manual_seed(config.seed)
    log.info("reading %d pictures", len(paths))
    low, high = config.zoom
    options = CropOptions(config.size, (low, high), config.rotation, config.jitter, config.noise, config.grey)
    crops = Crops(paths, options, config.batch_size, config.edge, config.seed)
    module = PretrainModule(architecture(BACKBONE), config, crops.classes)
    checkpoint = folder / CHECKPOINT
    state = read_checkpoint(checkpoint) if checkpoint.exists() else {"global_step": -1, "batches": 0}
    step = int(state["global_step"])
    record.pictures, record.threads = len(paths), torch.get_num_threads()
    record.parameters = sum(each.numel() for each in module.trunk.parameters())
    watch = _Watch(module, folder, record, trackers, interrupts)
    progress = Progress(config.steps, max(0, step), watch.shown)
    trainer = build_trainer(
        config.trainer,
        max_steps=config.steps,
        max_epochs=-1,
        callbacks=[Signals(interrupts), watch, progress],
        default_root_dir=folder,
    )
    record.device = device_name(trainer.strategy.root_device)
    for tracker in trackers:
        tracker.begin(record, step)
        watch.logged = max(watch.logged, tracker.last_step)
    if step >= 0:
        log.info("going on at step %d of %d in %s", step, config.steps, folder)
    try:
        batches = crops.batches(int(state["batches"]))
        trainer.fit(module, batches, ckpt_path=checkpoint if step >= 0 else None, weights_only=True)
    finally:
        progress.close()
    if interrupts.received is not None and module.global_step < config.steps:
        raise Interrupted(interrupts.received, record.command)
    data = safetensors.torch.save({key: value.half().contiguous() for key, value in module.trunk.folded().items()})
    write_atomically(folder / WEIGHTS, data)
    record.weights_sha256 = hashlib.sha256(data).hexdigest()
    log.info("%s: %.1f MB, sha256 %s", folder / WEIGHTS, len(data) / 1e6, record.weights_sha256)


class _Watch(Callback):
    """Logs, saves, and stops where a signal asks for it."""

    def __init__(
        self,
        module: PretrainModule,
        folder: Path,
        record: PretrainRecord,
        trackers: list[Tracker],
        interrupts: Interrupts,
    ) -> None:
        self.module = module
        self.folder = folder
        self.record = record
        self.trackers = trackers
        self.interrupts = interrupts
        self.logged = -1
        self.seconds_before = record.seconds
        self.begun = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Do what is due after this batch."""
        module, options = self.module, self.module.options
        if self.interrupts.requested():
            trainer.should_stop = True
        last = trainer.should_stop or module.global_step >= options.steps
        if (last or module.batches % options.log_every == 0) and module.global_step > self.logged:
            self.note(module.global_step)
        if last or module.batches % options.checkpoint_every == 0:
            save_checkpoint(trainer, self.folder)
            self.record.write(self.folder)

    def note(self, step: int) -> None:
        """Send the latest values to every tracker."""
        record, module = self.record, self.module
        record.values = {key: float(value) for key, value in module.latest.items()}
        record.step, record.batches = step, module.batches
        record.seconds = self.seconds_before + time.perf_counter() - self.begun
        self.logged = step
        for tracker in self.trackers:
            tracker.log_point({**record.values, "lr": module.learning_rate(step - 1)}, step)

    def shown(self) -> tuple[int, str]:
        """Return the step and a line about it for people."""
        loss = self.module.latest.get("train/loss")
        return self.module.global_step, "" if loss is None else f"loss {float(loss):.3f}"
