"""From a configuration to what the loop needs: images at working size, the network, targets, the canvas."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from src.backbones.registry import architecture
from src.backbones.weights import build_extractor
from src.canvas import Canvas, starting_image
from src.catalogue import Found
from src.config import RunConfig
from src.errors import InputError
from src.images import SMALLEST_SIDE, read_image, smallest_edge, to_tensor, working_size
from src.metrics import reset_peak_memory
from src.objective import Objective, Taps

if TYPE_CHECKING:
    from src.records import RunRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A run, ready to start.

    Attributes:
        canvas: the parameter, at its starting image.
        objective: with its targets measured.
        content: (1, 3, H, W) content image in [0, 1] at working size, on the run's device.
    """

    canvas: Canvas
    objective: Objective
    content: Tensor


def prepare(config: RunConfig, record: "RunRecord", files: Mapping[str, Found], device: torch.device) -> Prepared:
    """Read, check, and build; note checksums, sizes and device in the record.

    Args:
        config: the options.
        record: receives what is found; what an earlier process of the run found must still hold.
        files: as `catalogue.find_files` returns them.
        device: where the run takes place.

    Raises:
        InputError: an image, a tap or a weights file that cannot be used, or one that is not the file the run in
            `record` was started with.
    """
    _use_threads(config.trainer.threads)
    reset_peak_memory(device)
    record.device, record.threads = _device_name(device), torch.get_num_threads()
    network = architecture(config.backbone.name)
    taps = Taps.of(config)
    content, record.content_sha256 = _open("content", files, config, record.content_sha256)
    style, record.style_sha256 = _open("style", files, config, record.style_sha256)
    needed = max(network.smallest_side(taps.all), SMALLEST_SIDE)
    sizes = [_check_size(kind, image, config, needed) for kind, image in (("content", content), ("style", style))]
    record.width, record.height = sizes[0]

    extractor, digest = build_extractor(config.backbone, taps.all, config.mirror)
    if config.backbone.weights != "random":  # random ones may differ in their last bits between machines
        _same_file("backbone.weights", record.weights_sha256, digest)
    record.weights_sha256 = digest
    dtype = torch.float64 if config.precision == "64" else torch.float32
    extractor.to(device, dtype)
    if config.precision == "bf16":
        extractor.compute_in(torch.bfloat16)

    pixels = to_tensor(content, sizes[0]).to(device, dtype)
    style_pixels = to_tensor(style, sizes[1]).to(device, dtype)
    given = None
    if config.init.name == "style":
        given = to_tensor(style, sizes[0])
    elif config.init.name == "file":
        image, record.init_sha256 = _open("init", files, config, record.init_sha256)
        given = to_tensor(image, sizes[0])
    start = starting_image(config.init, pixels, config.seed, None if given is None else given.to(pixels))
    canvas = Canvas(start, extractor, config.canvas).to(device)
    objective = Objective(extractor, taps, config.loss, extractor.normalize(pixels), extractor.normalize(style_pixels))
    _announce(config, record)
    return Prepared(canvas, objective, pixels)


def _open(kind: str, files: Mapping[str, Found], config: RunConfig, before: str | None) -> tuple[Image.Image, str]:
    found = files[kind]
    _same_file(f"{kind} image {found.path}", before, found.sha256)
    return read_image(found.path, config.max_megapixels), found.sha256


def _same_file(what: str, before: str | None, now: str) -> None:
    if before and before != now:
        raise InputError(f"{what} has changed since this run began (sha256 {now[:12]}, was {before[:12]})")


def _check_size(kind: str, image: Image.Image, config: RunConfig, needed: int) -> tuple[int, int]:
    size = working_size(image.size, config.edge, config.fit)  # type: ignore[arg-type]
    if min(size) < needed:
        least = smallest_edge(image.size, needed, config.fit)  # type: ignore[arg-type]
        raise InputError(
            f"edge={config.edge} makes the {kind} image {size[0]}x{size[1]} px; the layers in use need "
            f"{needed} px on the short side: edge={least} or more"
        )
    if size[0] * size[1] > config.max_megapixels * 1e6:
        raise InputError(
            f"edge={config.edge} makes the {kind} image {size[0]}x{size[1]} px, {size[0] * size[1] / 1e6:.0f} "
            f"megapixels; the limit is {config.max_megapixels:g} (raise it with max_megapixels=N)"
        )
    return size


def _use_threads(asked: int | None) -> None:
    # Slurm without CPU binding shows a job all cores of the node: take no more than were allotted.
    allotted = os.environ.get("SLURM_CPUS_PER_TASK")
    if threads := asked or (int(allotted) if allotted else None):
        torch.set_num_threads(threads)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        return f"cpu: {names[0]}" if names else "cpu"
    except OSError:
        return "cpu"


def _announce(config: RunConfig, record: "RunRecord") -> None:
    log.info(
        "%s in the style of %s: %dx%d px, %d steps of %s on %s",
        record.content,
        record.style,
        record.width,
        record.height,
        config.steps,
        config.optimizer.name,
        record.device,
    )
    if config.backbone.weights == "random":
        log.info(
            "backbone: %s with RANDOM weights (seed %d): its pictures are noisy. backbone.weights=imagenet downloads "
            "trained ones",
            config.backbone.name,
            config.backbone.seed,
        )
    else:
        log.info("backbone: %s with weights %s", config.backbone.name, config.backbone.weights)
