"""Run a pretraining from a configuration to a file of weights; run again in the same folder, it resumes."""

import dataclasses
import logging
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from src.common.files import sole_writer
from src.common.platform import cpu_threads, device_name
from src.common.signals import Interrupts
from src.data.folders import batches_from, find_pictures
from src.encoders.registry import VGGSpec, encoder_spec
from src.pretrain.config import NON_IDENTITY_FIELDS, PretrainConfig, check
from src.pretrain.crops import Crops
from src.pretrain.inheritance import inherit
from src.pretrain.module import PretrainModule
from src.pretrain.record import PretrainRecord
from src.pretrain.teacher import VGGTeacher, build_teacher
from src.tracking.command_record import tracked
from src.training.checkpoints import CHECKPOINT
from src.training.loop import find_device
from src.training.networks import check_pictures, holds_result, open_record, train, write_weights
from src.training.setup import check_same

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
        Interrupted: SIGINT or SIGTERM; the checkpoint is written, and finished results are kept.
    """
    check(config)
    with Interrupts() as interrupts, sole_writer(folder), cpu_threads(config.trainer.threads):
        record = _pretrain(config, folder, interrupts)
    interrupts.check()
    return record


def _pretrain(config: PretrainConfig, folder: Path, interrupts: Interrupts) -> PretrainRecord:
    record = open_record(config, folder, PretrainRecord, NON_IDENTITY_FIELDS, WEIGHTS)
    if record.status == "finished" and holds_result(folder / WEIGHTS, record):
        log.info("already finished: %s", folder)
        return record
    record.config = dataclasses.asdict(config)
    record.device, record.threads = device_name(find_device(config.trainer)), torch.get_num_threads()
    images = config.images or ""
    paths = find_pictures(images, results=folder)
    log.info("reading %d pictures", len(paths))
    check_pictures(record, paths, images)
    crops = Crops(paths, config)
    torch.manual_seed(config.seed)
    spec = encoder_spec(BACKBONE)
    assert isinstance(spec, VGGSpec)
    teacher = None
    if config.teacher != "none":
        teacher, digest = build_teacher(config.teacher, config.teacher_weights, spec)
        check_same(f"teacher_weights={config.teacher_weights}", record.teacher_sha256, digest)
        record.teacher_sha256 = digest
    module = PretrainModule(spec, config, crops.classes, teacher)
    if isinstance(teacher, VGGTeacher) and config.inherit and not (folder / CHECKPOINT).exists():
        log.info("fitting the first weights to %s on %d crops", config.teacher, config.inherit)
        device = find_device(config.trainer)
        fitting = [batch.to(device) for batch in _fitting_crops(crops, config.inherit)]
        record.inherited = inherit(module.trunk.to(device), teacher.network.to(device), fitting)
    record.pictures = len(crops.pictures)
    record.parameters = sum(each.numel() for each in module.trunk.parameters())
    with tracked(config.logger, folder, record, "pretraining") as loggers:
        train(module, partial(batches_from, crops), folder, record, loggers, interrupts)
        write_weights(folder / WEIGHTS, module.trunk.folded(), record)
    return record


def _fitting_crops(crops: Crops, count: int) -> list[Tensor]:
    larger = crops.resized(FITTING_SIZE, FITTING_BATCH)
    return [larger[number].images for number in range(-(-count // FITTING_BATCH))]
