"""Train a feed-forward network from a configuration to a file of weights; run again in the same folder, it resumes."""

import dataclasses
import logging
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from src.common.errors import SAME_COMMAND, InputError, resumed_by
from src.common.files import sole_writer
from src.common.platform import cpu_threads, device_name, resolved_precision
from src.common.signals import Interrupts
from src.data.folders import batches_from, find_pictures
from src.data.images import read_pixels
from src.data.sources import find_picture
from src.distill.config import (
    NON_IDENTITY_FIELDS,
    DistillConfig,
    check,
    objective_run,
    style_names,
    style_pictures,
)
from src.distill.evaluation import evaluate
from src.distill.module import DistillModule
from src.distill.photographs import Photographs
from src.distill.record import DistillRecord
from src.encoders.base import Encoder
from src.feedforward.network import StyleNetwork
from src.feedforward.weights import load_network, metadata
from src.ops import kernels
from src.tracking.command_record import tracked
from src.training.loop import find_device
from src.training.networks import check_pictures, holds_result, open_record, train, write_weights
from src.training.setup import check_same, check_size, least_side, load_encoder
from src.transfer.objective import build_objective, used_taps
from src.transfer.terms.base import Inputs

log = logging.getLogger(__name__)

WEIGHTS = "network.safetensors"


def distill(config: DistillConfig, folder: Path) -> DistillRecord:
    """Train a network and write `folder/network.safetensors`, which `python -m src.paint weights=PATH` takes.

    If the folder holds the same training, it resumes from the last checkpoint. A finished one is left as it is, but
    measured again where `compare` has changed.

    Raises:
        InputError: an option or a file cannot be used, or the folder holds another training.
        NonFiniteLoss: the loss became NaN or infinite; no weights are written.
        Interrupted: SIGINT or SIGTERM; the checkpoint is written, and finished results are kept.
    """
    check(config)
    threads = cpu_threads(config.trainer.threads)
    # a comparison run would be resumed by a command of its own
    use_kernels = kernels.use(config.trainer.kernels == "auto")
    with Interrupts() as interrupts, sole_writer(folder), threads, use_kernels, resumed_by(SAME_COMMAND):
        record = _distill(config, folder, interrupts)
    interrupts.check()
    return record


def _distill(config: DistillConfig, folder: Path, interrupts: Interrupts) -> DistillRecord:
    record = open_record(config, folder, DistillRecord, NON_IDENTITY_FIELDS, WEIGHTS)
    trained = holds_result(folder / WEIGHTS, record)
    if trained and record.status == "finished" and record.config.get("compare") == config.compare:
        log.info("already finished: %s", folder)
        return record
    record.config = dataclasses.asdict(config)
    device = find_device(config.trainer)
    record.device, record.threads = device_name(device), torch.get_num_threads()
    images = config.images or ""
    paths = find_pictures(images, results=folder)
    if len(paths) - config.held_out < 2:
        raise InputError(f"held_out={config.held_out} leaves fewer than two of {len(paths)} photographs to train on")
    log.info("reading %d photographs", len(paths))
    check_pictures(record, paths, images)
    kept, held_out = _divided(paths, config.held_out)
    torch.manual_seed(config.seed)
    network = _network(config)
    styles = _read_styles(config, record)
    precision = resolved_precision(config.precision, device)
    encoder = _encoder(config, record, precision, device)
    objectives = [
        build_objective(objective_run(config, picture), encoder, _inputs(config.size, style.to(device)))
        for picture, style in zip(style_pictures(config), styles, strict=True)
    ]
    photographs = Photographs(kept, config.edge, config.size, config.batch_size, config.seed)
    record.pictures, record.styles = len(photographs.pictures), style_names(config)
    record.parameters = sum(each.numel() for each in network.parameters())
    module = DistillModule(config, network, objectives, reduced=precision == "bf16")
    with tracked(config.logger, folder, record, "distillation") as loggers:
        if not trained:
            train(module, partial(batches_from, photographs), folder, record, loggers, interrupts)
            write_weights(folder / WEIGHTS, network.state_dict(), record, metadata(network, record.styles))
        record.held_out = evaluate(config, folder / WEIGHTS, held_out, styles, encoder, folder, interrupts)
    return record


def _divided(paths: list[Path], held_out: int) -> tuple[list[Path], list[Path]]:
    """Return the photographs to train on and those that are held out, which lie evenly among them."""
    if not held_out:
        return paths, []
    places = {round((number + 0.5) * len(paths) / held_out - 0.5) for number in range(held_out)}
    return (
        [path for place, path in enumerate(paths) if place not in places],
        [path for place, path in enumerate(paths) if place in places],
    )


def _network(config: DistillConfig) -> StyleNetwork:
    count = len(style_names(config))
    if config.start is None:
        return StyleNetwork(config.network, count)
    found = load_network(config.start)
    if (found.network.size, len(found.styles)) != (config.network, count):
        raise InputError(
            f"start={config.start} is a network={found.network.size} of {len(found.styles)} styles; this one is "
            f"network={config.network} of {count}"
        )
    return found.network.train().requires_grad_(True)


def _read_styles(config: DistillConfig, record: DistillRecord) -> list[Tensor]:
    """Return the style images at the size of a run with this edge, (1, 3, H, W) in [0, 1] each."""
    found, digests = [], []
    for picture in style_pictures(config):
        file = find_picture("style", picture, config.mirror)
        image, run = read_pixels(file.path, config.max_megapixels, opaque=True), objective_run(config, picture)
        size = check_size("style", image, run, config.edge, least_side(run), config.style_scale)
        found.append(image.color(size))
        digests.append(file.sha256)
    for picture, before, now in zip(style_pictures(config), record.style_sha256, digests, strict=False):
        check_same(f"style image {picture.path or picture.name}", before, now)
    record.style_sha256 = digests
    return found


def _encoder(config: DistillConfig, record: DistillRecord, precision: str, device: torch.device) -> Encoder:
    run = objective_run(config, config.style)
    shared = load_encoder(run, used_taps(run), precision, device)
    if config.backbone.weights != "random":
        check_same("backbone.weights", record.backbone_sha256, shared.weights_sha256)
    record.backbone_sha256, record.kernels = shared.weights_sha256, shared.kernels
    return shared.encoder


def _inputs(size: int, style: Tensor) -> Inputs:
    """Return a style and a grey content image; each batch measures the content targets of its own crops."""
    return Inputs.of(style.new_full((1, 3, size, size), 0.5), style)
