"""From a configuration to what the loop needs: images at working size, the network, targets, the canvas."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import torch
from PIL import Image
from torch import Tensor

from src.common.errors import InputError
from src.common.platform import device_name, has_bf16, use_threads
from src.config.schema import RunConfig, picture_name
from src.data.images import SMALLEST_SIDE, interpolated, read_image, resize, smallest_edge, to_tensor, working_size
from src.data.sources import Found
from src.encoders.recomputation import KEPT, Recomputation
from src.encoders.registry import architecture
from src.encoders.vgg import Extractor
from src.encoders.weights import build_extractor
from src.training.footprint import Footprint
from src.training.metrics import reset_peak_memory
from src.training.starts import Starts
from src.transfer.canvas import Canvas, starting_image
from src.transfer.objective import Objective, Taps

if TYPE_CHECKING:
    from src.tracking.record import RunRecord

log = logging.getLogger(__name__)

# Starts whose fine colours are not the result's.
FOREIGN = ("noise", "style", "file")
# Those that are cheap to make anew at any size, with detail as fine as it has.
DETAILED = ("content", "recolored")


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
        beside: of another run with the same network and form of the loss, whose network is taken, and the targets of
            pictures that are the same.
        starts: makes the first image, or has it already.

    Raises:
        InputError: an image, a tap or a weights file that cannot be used, or one that is not the file the run in
            `record` was started with.
    """

    def __init__(
        self,
        config: RunConfig,
        record: "RunRecord",
        files: Mapping[str, Found],
        device: torch.device,
        beside: "Preparation | None" = None,
        starts: Starts | None = None,
    ) -> None:
        use_threads(config.trainer.threads)
        reset_peak_memory(device)
        self.config, self.device = config, device
        record.device, record.threads, record.batch = device_name(device), torch.get_num_threads(), 1
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

        if beside is None:
            self.extractor, self.digest = self._network(record.precision)
        else:
            self.extractor, self.digest = beside.extractor, beside.digest
        if config.backbone.weights != "random":  # random ones may differ in their last bits between machines
            _same_file("backbone.weights", record.weights_sha256, self.digest)
        record.weights_sha256 = self.digest
        self.checksums = record.content_sha256, record.style_sha256
        # by picture and size, for as long as they are in use
        self.objectives: WeakValueDictionary[tuple[object, ...], Objective] = (
            WeakValueDictionary() if beside is None else beside.objectives
        )
        self.starts: Starts = beside.starts if beside else starts or Starts()
        self.starts.shared |= beside is not None
        _announce(config, record)

    def _network(self, precision: str) -> tuple[Extractor, str]:
        config = self.config
        extractor, digest = build_extractor(config.backbone, self.taps.all, config.mirror)
        # channels innermost: what bf16 convolutions and depthwise ones are fastest in
        extractor.to(self.device, self.dtype).to(memory_format=torch.channels_last)
        if precision == "bf16":
            extractor.compute_in(torch.bfloat16)
        return extractor.speed_up(), digest

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
            image: (1, 3, H, W), the result of the stage before, of any edge; None starts as asked for. Where the run
                began with the content, recolored or not, what has changed since is enlarged and laid over the same
                start at this size, which keeps its fine detail; otherwise the image itself is enlarged.
            restored: a checkpoint will be put into the canvas; where it starts does not matter.
            recomputed: what of an evaluation is computed anew, in place of being kept.

        Raises:
            InputError: the images would be too small for the network's taps.
        """
        config = self.config
        size = self._size("content", self.content, edge)
        content, style = self._pictures(edge)
        if image is not None and config.init.name in DETAILED:
            before = starting_image(config.init, *self._pictures(max(image.shape[2:])), config.seed, None)
            start = starting_image(config.init, content, style, config.seed, None) + interpolated(image - before, size)
        elif image is not None:
            start = resize(image.clamp(0, 1), size)
        elif restored:
            start = content
        else:
            given = None if self.init is None else to_tensor(self.init, size).to(content)
            start = self.starts.make(config, self.checksums, content, style, given)
        options = replace(
            config.canvas,
            space=self._space,
            # a clamped image has another gradient than the one L-BFGS learns its curvature from
            clamp=config.canvas.clamp and config.optimizer.name != "lbfgs",
        )
        canvas = Canvas(start, self.extractor, options, config.schedule.average).to(self.device)
        return Prepared(canvas, self._objective(content, style, recomputed), content, style)

    def _objective(self, content: Tensor, style: Tensor, recomputed: Recomputation) -> Objective:
        normalize = self.extractor.normalize
        size = content.shape[2:]
        alike = ("content", self.checksums[0], size), ("style", self.checksums[1], style.shape[2:], size)
        content_of, style_of = (self.objectives.get(key) for key in alike)
        objective = Objective(
            self.extractor,
            self.taps,
            self.config.loss,
            normalize(content),
            normalize(style),
            recomputed,
            content_of,
            style_of,
        )
        self.objectives.update(dict.fromkeys(alike, objective))
        return objective

    def _pictures(self, edge: int) -> tuple[Tensor, Tensor]:
        """Return content and style at an edge."""
        kinds = (("content", self.content), ("style", self.style))
        content, style = (to_tensor(image, self._size(kind, image, edge)) for kind, image in kinds)
        return content.to(self.device, self.dtype), style.to(self.device, self.dtype)

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


def _announce(config: RunConfig, record: "RunRecord") -> None:
    log.info(
        "%s in the style of %s: %dx%d px, %d steps of %s on %s",
        picture_name(config.content),
        picture_name(config.style),
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
