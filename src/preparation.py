"""From a configuration to what the loop needs: images at working size, the network, targets, the canvas."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from src.backbones.recomputation import KEPT, Recomputation
from src.backbones.registry import architecture
from src.backbones.weights import build_extractor
from src.canvas import Canvas, starting_image
from src.catalogue import Found
from src.config import RunConfig
from src.errors import InputError
from src.footprint import Footprint
from src.images import SMALLEST_SIDE, interpolated, read_image, resize, smallest_edge, to_tensor, working_size
from src.metrics import now, reset_peak_memory
from src.objective import Objective, Taps
from src.provenance import INSTRUCTIONS, cpu_entry

if TYPE_CHECKING:
    from src.records import RunRecord

log = logging.getLogger(__name__)


# The instructions of processors that multiply bfloat16 themselves.
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


# Starts whose fine colours are not the result's.
FOREIGN = ("noise", "style", "file")


@dataclass(frozen=True)
class Prepared:
    """A stage of a run, ready to start.

    Attributes:
        canvas: the parameter, at its starting image.
        objective: with its targets measured.
        content: (1, 3, H, W) content image in [0, 1] at the stage's size, on the run's device.
        style: (1, 3, H', W') style image likewise.
    """

    canvas: Canvas
    objective: Objective
    content: Tensor
    style: Tensor


class Preparation:
    """What all stages of a run share: the pictures as they were read, and the network.

    Args:
        config: the options.
        record: receives checksums, sizes and device; what an earlier process of the run found must still hold.
        files: as `catalogue.find_files` returns them.
        device: where the run takes place.

    Raises:
        InputError: an image, a tap or a weights file that cannot be used, or one that is not the file the run in
            `record` was started with.
    """

    def __init__(
        self, config: RunConfig, record: "RunRecord", files: Mapping[str, Found], device: torch.device
    ) -> None:
        use_threads(config.trainer.threads)
        reset_peak_memory(device)
        self.config, self.device = config, device
        record.device, record.threads = device_name(device), torch.get_num_threads()
        if record.precision == "auto":  # a run that goes on elsewhere keeps what it was begun in
            record.precision = "bf16" if has_bf16(device) else "32"
        self.dtype = torch.float64 if record.precision == "64" else torch.float32
        self.taps = Taps.of(config)
        self.content, record.content_sha256 = _open("content", files, config, record.content_sha256)
        self.style, record.style_sha256 = _open("style", files, config, record.style_sha256)
        self.init: Image.Image | None = self.style if config.init.name == "style" else None
        if config.init.name == "file":
            self.init, record.init_sha256 = _open("init", files, config, record.init_sha256)
        self.needed = max(architecture(config.backbone.name).smallest_side(self.taps.all), SMALLEST_SIDE)
        record.width, record.height = self._size("content", self.content, config.edge)
        self._size("style", self.style, config.edge)

        self.extractor, digest = build_extractor(config.backbone, self.taps.all, config.mirror)
        if config.backbone.weights != "random":  # random ones may differ in their last bits between machines
            _same_file("backbone.weights", record.weights_sha256, digest)
        record.weights_sha256 = digest
        # channels innermost: what bf16 convolutions and depthwise ones are fastest in
        self.extractor.to(device, self.dtype).to(memory_format=torch.channels_last)
        if record.precision == "bf16":
            self.extractor.compute_in(torch.bfloat16)
        self.extractor.speed_up()
        _announce(config, record)

    def footprint(self, edge: int, begun: bool) -> Footprint:
        """Return what a stage will need of memory.

        Args:
            edge: its long side, px.
            begun: whether it goes on from a picture that is there.
        """
        sizes = [
            self._size(kind, image, edge)[::-1] for kind, image in (("content", self.content), ("style", self.style))
        ]
        split = self._space == "split"
        return Footprint.of(self.config, self.taps, self.extractor, self.dtype, (sizes[0], sizes[1]), split, begun)

    @property
    def _space(self) -> str:
        # changes of brightness and of coarse colours could not take the fine colours of another picture away
        foreign = self.config.init.name in FOREIGN
        return "pixel" if self.config.canvas.space == "split" and foreign else self.config.canvas.space

    def at(self, edge: int, image: Tensor | None, restored: bool = False, recomputed: Recomputation = KEPT) -> Prepared:
        """Return a stage.

        Args:
            edge: its long side, px.
            image: (1, 3, H, W), the result of the stage before, of any size; None starts as asked for. Where the run
                began with the content, what has changed since is enlarged and laid over the content at this size,
                which keeps its fine detail; otherwise the image itself is enlarged.
            restored: a checkpoint will be put into the canvas; where it starts does not matter.
            recomputed: what of an evaluation is computed anew, in place of being kept.

        Raises:
            InputError: the images would be too small for the network's taps.
        """
        config = self.config
        size = self._size("content", self.content, edge)
        content = to_tensor(self.content, size).to(self.device, self.dtype)
        style = to_tensor(self.style, self._size("style", self.style, edge)).to(self.device, self.dtype)
        if image is not None and config.init.name == "content":
            height, width = image.shape[2:]
            start = content + interpolated(image - to_tensor(self.content, (width, height)).to(image), size)
        elif image is not None:
            start = resize(image.clamp(0, 1), size)
        elif restored:
            start = content
        else:
            begun = now(self.device)
            given = None if self.init is None else to_tensor(self.init, size).to(content)
            start = starting_image(config.init, content, style, config.seed, given)
            if config.init.name == "patchwork":
                log.info("start: the content in patches of the style, in %.1f s", now(self.device) - begun)
        options = replace(
            config.canvas,
            space=self._space,
            # a clamped image has another gradient than the one L-BFGS learns its curvature from
            clamp=config.canvas.clamp and config.optimizer.name != "lbfgs",
        )
        canvas = Canvas(start, self.extractor, options).to(self.device)
        normalize = self.extractor.normalize
        objective = Objective(self.extractor, self.taps, config.loss, normalize(content), normalize(style), recomputed)
        return Prepared(canvas, objective, content, style)

    def _size(self, kind: str, image: Image.Image, edge: int) -> tuple[int, int]:
        return _check_size(kind, image, self.config, edge, self.needed)


def _open(kind: str, files: Mapping[str, Found], config: RunConfig, before: str | None) -> tuple[Image.Image, str]:
    found = files[kind]
    _same_file(f"{kind} image {found.path}", before, found.sha256)
    return read_image(found.path, config.max_megapixels), found.sha256


def _same_file(what: str, before: str | None, now: str) -> None:
    if before and before != now:
        raise InputError(f"{what} has changed since this run began (sha256 {now[:12]}, was {before[:12]})")


def _check_size(kind: str, image: Image.Image, config: RunConfig, edge: int, needed: int) -> tuple[int, int]:
    size = working_size(image.size, edge, config.fit)  # type: ignore[arg-type]
    if min(size) < needed:
        least = smallest_edge(image.size, needed, config.fit)  # type: ignore[arg-type]
        raise InputError(
            f"edge={edge} makes the {kind} image {size[0]}x{size[1]} px; the layers in use need "
            f"{needed} px on the short side: edge={least} or more"
        )
    if size[0] * size[1] > config.max_megapixels * 1e6:
        raise InputError(
            f"edge={edge} makes the {kind} image {size[0]}x{size[1]} px, {size[0] * size[1] / 1e6:.0f} "
            f"megapixels; the limit is {config.max_megapixels:g} (raise it with max_megapixels=N)"
        )
    return size


def use_threads(asked: int | None) -> None:
    """Take as many CPU threads as were asked for, else as the batch system allotted, else as torch thinks fit."""
    # Slurm without CPU binding shows a job all cores of the node: take no more than were allotted.
    allotted = os.environ.get("SLURM_CPUS_PER_TASK")
    if threads := asked or (int(allotted) if allotted else None):
        torch.set_num_threads(threads)


def has_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 in hardware, and so several times faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and not BF16_FLAGS.isdisjoint(cpu_entry(INSTRUCTIONS).split())


def device_name(device: torch.device) -> str:
    """Return the name of a device for people: the model of the GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    name = cpu_entry(("model name",))
    return f"cpu: {name}" if name else "cpu"


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
            "backbone: %s with RANDOM weights (seed %d): its pictures are noisy; backbone.weights=trained has others",
            config.backbone.name,
            config.backbone.seed,
        )
    else:
        log.info("backbone: %s with weights %s", config.backbone.name, config.backbone.weights)
