"""From a configuration to what a stage needs: images at working size, encoder, targets, starting image."""

import logging
import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from src.common.errors import InputError
from src.common.platform import device_name, resolved_precision
from src.config.schedule import Stage, halvings, stages
from src.config.schema import (
    FILE_STARTS,
    PREVIEW,
    RunConfig,
    blended,
    is_label,
    masks,
    picture_name,
    style_scales,
    style_shares,
)
from src.data.images import (
    SMALLEST_SIDE,
    Pixels,
    interpolated,
    read_pixels,
    resize,
    smallest_edge,
    working_size,
    write_image,
)
from src.data.masks import Mask, matched, read_mask
from src.data.sources import VIEWS, pictures_of
from src.data.views import Views, read_views
from src.encoders.base import Encoder
from src.encoders.registry import encoder_spec, smallest_side
from src.feedforward.tiles import stylise
from src.feedforward.weights import load_network
from src.ops.color import grey, match_colors, restore_colors
from src.training import checkpoints
from src.training.checkpoints import Checkpoint
from src.training.context import RunContext
from src.training.memory import MemoryBudget, MemoryEstimate, reset_peak_memory, retry_smaller
from src.training.pair import Pair
from src.transfer.objective import TargetCache, used_taps
from src.transfer.scales import build_scales
from src.transfer.start import DETAILED_STARTS, starting_image
from src.transfer.terms.base import Inputs, Reference, Regions, StyleImage
from src.transfer.views import Sheet, sheet_size

log = logging.getLogger(__name__)


@dataclass
class Shared:
    """What the runs of a batch share: they have the same encoder, and equal targets once.

    Attributes:
        encoder: frozen, on the device.
        weights_sha256: checksum of its weights.
        kernels: whether it uses compiled CPU kernels.
        targets: of terms, by their inputs.
    """

    encoder: Encoder
    weights_sha256: str
    kernels: bool = False
    targets: TargetCache = field(default_factory=dict)


class PreparedRun:
    """A run whose images are decoded and whose encoder is loaded; `enter` sets up one stage after another.

    Args:
        context: folder, record and loggers.
        device: where the run takes place.
        shared: of other runs of the same batch and precision; None loads the encoder.

    Attributes:
        pair: objective and counters, which the module works with.
        originals: content and style image of the present stage.
        inputs: the same in the colours that `color=` has for the objective.
        sheet: what the objective sees of the canvas in the present stage, where the canvas is a texture.
        budget: memory strategy of the present stage.
        checkpoint: what the run resumes from; None from the beginning.

    Raises:
        InputError: an image, a layer or a weights file cannot be used, or has changed since the run began.
    """

    originals: Inputs
    inputs: Inputs
    budget: MemoryBudget

    def __init__(self, context: RunContext, device: torch.device, shared: Shared | None = None) -> None:
        config, record = context.config, context.record
        self.context, self.device = context, device
        reset_peak_memory(device)
        record.device, record.threads = device_name(device), torch.get_num_threads()
        # A resumed run keeps the precision that it began with.
        record.precision = resolved_precision(record.precision, device)
        self.dtype = torch.float64 if record.precision == "64" else torch.float32
        given = masks(config)
        self.masks = {option: self._read_mask(option, mask) for option, mask in given.items()}
        self.images = {kind: self._read(kind) for kind in pictures_of(config) if kind not in given}
        self.views = self._read_views() if config.canvas.views else None
        self.network = load_network(self._checked("init")) if config.init.name == "network" else None
        self.sheet: Sheet | None = None
        self._turn = 0  # whose cameras the sheet has
        taps = used_taps(config)
        self.needed = least_side(config)
        record.width, record.height = self._size("content", config.edge)
        for stage in stages(config):
            self._check_room(stage.edge)
        self.regions = self._matched_regions()
        self.shared = shared or load_encoder(config, taps, record.precision, device)
        if config.backbone.weights != "random":  # random ones may differ in the last bits between machines
            check_same("backbone.weights", record.weights_sha256, self.shared.weights_sha256)
        record.weights_sha256 = self.shared.weights_sha256
        record.kernels = self.shared.kernels
        self.checkpoint: Checkpoint | None = checkpoints.read(context.folder)
        self.pair = Pair(stop_at_loss=config.stop_at_loss)

    @property
    def encoder(self) -> Encoder:
        """Return the frozen network."""
        return self.shared.encoder

    @property
    def resume_step(self) -> int:
        """Return the step that the run resumes from; -1 from the beginning."""
        return self.checkpoint["step"] if self.checkpoint else -1

    @property
    def resume_stage(self) -> int:
        """Return the first step of the stage that the checkpoint is of; 0 from the beginning."""
        return self.checkpoint["step"] - self.checkpoint["global_step"] if self.checkpoint else 0

    def _checked(self, kind: str) -> Path:
        """Return the file of an image; keep its checksum, which a resumed run compares."""
        found, record = self.context.files[kind], self.context.record
        check_same(f"{kind} image {found.path}", record.checksum(kind), found.sha256)
        record.keep_checksum(kind, found.sha256)
        return found.path

    def _read_mask(self, option: str, mask: str) -> Mask:
        limit = self.context.config.max_megapixels
        return Mask.whole(mask) if is_label(mask) else read_mask(option, self._checked(option), limit)

    def _read_views(self) -> Views:
        views, turns = read_views(self._checked(VIEWS)), self.context.config.canvas.turns
        if turns > views.turns:
            raise InputError(
                f"canvas.turns={turns}, but {self.context.config.canvas.views} has only {views.turns} camera sets"
            )
        return views

    def _mask(self, kind: str) -> Mask:
        """Return the mask of an image, all of it white where it has none."""
        return self.masks.get(_mask_option(kind)) or Mask.whole()

    def _matched_regions(self) -> list[str]:
        """Return the labels of the regions that are compared; none without masks."""
        if not self.masks:
            return []
        for kind, image in self.images.items():
            self._mask(kind).check_shape(_mask_option(kind), image.size)
        styles = {_mask_option(kind): self._mask(kind) for kind, _, _ in self._style_sizes(self.context.config.edge)}
        return matched(self._mask("content"), styles, self.context.config.keep_unmasked)

    def _read(self, kind: str) -> Pixels:
        opaque = kind != "content" or self.context.config.format == "jpeg"  # JPEG has no alpha
        return read_pixels(self._checked(kind), self.context.config.max_megapixels, opaque)

    def _size(self, kind: str, edge: int, scale: float = 1.0) -> tuple[int, int]:
        return check_size(kind, self.images[kind], self.context.config, edge, self.needed, scale)

    def _seen_size(self, edge: int) -> tuple[int, int]:
        """Return the size (width, height) of what the objective sees: the content, or the sheet of its views."""
        width, height = self._size("content", edge)
        return (width, height) if self.views is None else sheet_size(self.views, (height, width))[::-1]

    def _check_room(self, edge: int) -> None:
        """Check that the layers in use have room in the views, and at every size of `schedule=simultaneous`."""
        options, seen = self.context.config.schedule, self._seen_size(edge)
        if min(seen) < self.needed:
            raise InputError(
                f"canvas.views: at edge={edge} the sheet of views has {seen[0]}x{seen[1]} px, but the selected layers "
                f"need a short side of at least {self.needed} px: use larger views (mesh.size) or more of them"
            )
        sizes = [("content", seen), *((kind, size) for kind, _, size in self._style_sizes(edge))]
        for kind, size in sizes:
            width, height = (side >> halvings(self.context.config, max(seen)) for side in size)
            if min(width, height) < self.needed:
                raise InputError(
                    f"schedule.smallest={options.smallest} halves the {kind} image to {width}x{height} px, but the "
                    f"selected layers need a short side of at least {self.needed} px: use a larger schedule.smallest"
                )

    def announce(self) -> None:
        """Log what runs, at which size, on what device and with which network."""
        config, record = self.context.config, self.context.record
        styles = " and ".join(map(picture_name, (config.style, *blended(config))))
        log.info(
            "%s in the style of %s: %dx%d px, %d steps of %s on %s",
            picture_name(config.content), styles, record.width, record.height, config.steps,
            config.optimizer.name, record.device,
        )  # fmt: skip
        if config.schedule.name == "simultaneous":
            edges = [config.edge >> number for number in range(halvings(config, config.edge) + 1)]
            told = " and ".join(map(str, edges)) + " px at once"
            if len(edges) == 1:
                told = f"only {config.edge} px: half of it is below schedule.smallest={config.schedule.smallest}"
            log.info("schedule=simultaneous: %s", told)
        if config.backbone.weights == "random":
            seed = config.backbone.seed
            log.info("backbone: %s with random weights (seed %d); backbone.weights=trained gives better pictures",
                     config.backbone.name, seed)  # fmt: skip
        else:
            log.info("backbone: %s with weights %s", config.backbone.name, config.backbone.weights)

    def announce_memory(self, stage: Stage) -> None:
        """Log the memory of a stage that has been entered; small sizes that keep all activations need no line."""
        full = stage.edge == self.context.config.edge
        begins = not stage.turn or stage.first <= self.resume_step  # at this size, or in this process
        if begins and (full or self.budget.checkpointing.blocks):
            self.budget.announce()

    def load_inputs(self, edge: int) -> Inputs:
        """Return content and style images at an edge, on the device, and what counts of them."""
        size, config = self._size("content", edge), self.context.config
        content, alpha = self._tensor("content", size), self.images["content"].alpha(size)
        styles = tuple(
            StyleImage(self._tensor(kind, each), weight, regions=self._regions(kind, each))
            for kind, weight, each in self._style_sizes(edge)
        )
        mask = None if alpha is None else alpha.to(content)
        shares = self._regions("content", size)
        references = self._references(size)
        if shares is None:
            return Inputs(content, styles, mask, references=references)
        kept = 1 - shares.sum(1, keepdim=True).clamp(0, 1) if config.keep_unmasked else None
        regions = Regions(shares if mask is None else shares * mask, tuple(self.regions), config.guides)
        return Inputs(content, styles, mask, regions=regions, kept=kept, references=references)

    def _references(self, size: tuple[int, int]) -> tuple[Reference, ...]:
        found = []
        for place in range(len(self.context.config.reference.images)):
            image, weights = self._tensor(f"reference.images[{place}]", size), f"reference.weights[{place}]"
            grey_weights = self._tensor(weights, size) if weights in self.images else torch.ones_like(image)
            found.append(Reference(image, grey_weights.mean(1, keepdim=True)))
        return tuple(found)

    def _regions(self, kind: str, size: tuple[int, int]) -> Tensor | None:
        return self._mask(kind).tensor(self.regions, size).to(self.device, self.dtype) if self.regions else None

    def _tensor(self, kind: str, size: tuple[int, int]) -> Tensor:
        return self.images[kind].color(size).to(self.device, self.dtype)

    def _style_sizes(self, edge: int) -> list[tuple[str, float, tuple[int, int]]]:
        """Return kind, weight and size (width, height) of each style at each scale; those of weight 0 are left out."""
        config = self.context.config
        scales = style_scales(config)
        kinds = ["style", *(kind for kind in self.images if kind.startswith("blend.styles"))]
        return [
            (kind, weight / len(scales), self._size(kind, edge, scale))
            for kind, weight in zip(kinds, style_shares(config), strict=True)
            for scale in scales
            if weight > 0
        ]

    def enter(self, stage: Stage, before: Tensor | None, fresh: bool) -> Tensor:
        """Set up a stage: budget, inputs and objective. Return its starting image, (1, 3, H, W).

        Args:
            stage: the next one.
            before: (1, 3, H, W), the result of the previous stage; None for the first stage of this process.
            fresh: the run starts here; otherwise a checkpoint will replace the starting image.
        """
        config, record = self.context.config, self.context.record
        size = max(self._size("content", stage.edge), self._seen_size(stage.edge), key=math.prod)[::-1]
        styles = self._style_sizes(stage.edge)
        style_pixels = sum(width * height for _, _, (width, height) in styles)
        regions = max(1, len(self.regions))
        estimate = MemoryEstimate(config, self.encoder, size, style_pixels, self.dtype.itemsize, regions)
        noted = record.memory.get(str(stage.edge))
        self.budget = MemoryBudget(estimate, config.trainer.memory, self.device, noted)
        self._edge = stage.edge
        return retry_smaller(partial(self._enter, stage, before, fresh), self.budget.step_down, self.device)

    def _enter(self, stage: Stage, before: Tensor | None, fresh: bool) -> Tensor:
        context, color = self.context, self.context.config.color
        context.record.memory[str(stage.edge)] = self.budget.summary()
        self.originals = self.load_inputs(stage.edge)
        self.inputs = colored(self.originals, color)
        size = (self.inputs.content.shape[2], self.inputs.content.shape[3])
        self._turn_to(stage.turn, size)
        files = context.files
        styles = [(files[kind].sha256, weight, size) for kind, weight, size in self._style_sizes(stage.edge)]
        content = tuple(files[kind].sha256 for kind in ("content", VIEWS) if kind in files)
        # With color=match the style is another image for each content.
        identities = {"content": content, "style": (*styles, content if color == "match" else None)}
        self.pair.objective = build_scales(
            context.config,
            self.encoder,
            self.inputs if self.sheet is None else self.sheet.inputs(self.inputs),
            self.budget.checkpointing,
            self.shared.targets,
            identities,
        )
        return before if stage.turn and before is not None else self._start(before, fresh)

    def _turn_to(self, turn: int, size: tuple[int, int]) -> None:
        """Switch to the cameras of a turn for a canvas of this height and width.

        Texels that earlier turns showed still count as seen; a resumed process makes their sheets anew.
        """
        if self.views is None:
            return
        before = self.sheet if self.sheet is not None and self.sheet.canvas == size else None
        for number in range(self._turn + 1 if before else 0, turn + 1):
            self.sheet, self._turn = Sheet(self.views.turn(number), size, self.device, self.dtype), number
            self.sheet.seen += before.seen if before else 0
            before = self.sheet

    def as_saved(self, picture: Tensor) -> Tensor:
        """Return a result (1, 3, H, W) of the present stage as it is saved: in the colours that `color=` says, with the
        content's pixels where they are kept.
        """
        content = self.originals.content
        done = self.originals.kept_in(restore_colors(self.context.config.color, content, picture))
        return done if self.sheet is None else self.sheet.as_saved(done)

    def shown(self, picture: Tensor) -> Tensor:
        """Return what the objective sees of a picture (1, 3, H, W) of the present stage."""
        return picture if self.sheet is None else self.sheet(picture)

    def write(self, path: Path, picture: Tensor) -> None:
        """Write a result (1, 3, H, W) with the content's alpha at its size, in the run's bits a channel."""
        alpha = self.images["content"].alpha((picture.shape[3], picture.shape[2]))
        whole = picture if alpha is None else torch.cat([picture, alpha.to(picture)], 1)
        write_image(path, whole[0], self.context.config.depth)

    def write_preview(self, picture: Tensor) -> None:
        """Write a result (1, 3, H, W) of the present stage as the run's preview, transparency on white."""
        alpha = self.images["content"].alpha((picture.shape[3], picture.shape[2]))
        opaque = picture if alpha is None else picture * alpha.to(picture) + 1 - alpha.to(picture)
        write_image(self.context.folder / PREVIEW, opaque[0])

    def _network_style(self) -> str | None:
        """Return the style of `init=network`: the run's, or the network's only one."""
        assert self.network is not None
        return picture_name(self.context.config.style) if len(self.network.styles) > 1 else None

    def step_down(self, error: BaseException) -> bool:
        """Reduce the memory of an evaluation from here on after an out-of-memory error; see `MemoryBudget`."""
        if not self.budget.step_down(error):
            return False
        self.pair.objective.checkpointing = self.budget.checkpointing
        self.context.record.memory[str(self._edge)] = self.budget.summary()
        return True

    def _start(self, before: Tensor | None, fresh: bool) -> Tensor:
        config, inputs = self.context.config, self.inputs
        height, width = inputs.content.shape[2:]
        if before is not None and config.init.name in DETAILED_STARTS:
            # Enlarge only the change so far and add it to the start at this size, which keeps the start's fine detail.
            smaller = colored(self.load_inputs(max(before.shape[2:])), config.color)
            begun = starting_image(config.init, smaller.content, smaller.style, config.seed, None)
            change = before - begun
            start = starting_image(config.init, inputs.content, inputs.style, config.seed, None)
            return start + interpolated(change, (width, height))
        if before is not None:
            return resize(before.clamp(0, 1), (width, height))
        if not fresh:
            return inputs.content
        given: Tensor | None = None
        if self.network is not None:
            content, shares = self.originals.content.cpu().float(), self.network.shares(self._network_style())
            given = stylise(self.network.network, content, shares).to(inputs.content)
        elif kind := "style" if config.init.name == "style" else "init" if config.init.name in FILE_STARTS else None:
            given = self.images[kind].color((width, height)).to(inputs.content)
            if kind == "style":
                given = colored(Inputs.of(self.originals.content, given), config.color).style
        return starting_image(config.init, inputs.content, inputs.style, config.seed, given)


def _mask_option(kind: str) -> str:
    """Return the option that gives the mask of an image."""
    return kind.replace("styles", "masks") if kind.startswith("blend") else f"{kind}.mask"


def colored(inputs: Inputs, color: str) -> Inputs:
    """Return the images in the colours that `color=` has for the objective (Gatys et al. 2016b)."""
    content = inputs.content
    changes = {"luminance": grey, "match": lambda style: match_colors(style, content).clamp(0, 1)}
    if color not in changes:
        return inputs
    styles = tuple(replace(style, image=changes[color](style.image)) for style in inputs.styles)
    if color == "match":
        return replace(inputs, styles=styles)
    references = tuple(replace(each, image=grey(each.image)) for each in inputs.references)
    return replace(inputs, content=grey(content), styles=styles, references=references)


def load_encoder(config: RunConfig, taps: list[str], precision: str, device: torch.device) -> Shared:
    """Return the encoder of a configuration, on a device, in a precision (32 | 64 | bf16).

    Raises:
        InputError: weights that are missing or do not fit.
    """
    encoder, digest = encoder_spec(config.backbone.name).build(config.backbone, taps, config.mirror)
    encoder.swag = config.backbone.swag
    dtype = torch.float64 if precision == "64" else torch.float32
    # Channels last: fastest for bfloat16 and depthwise convolutions.
    encoder.to(device, dtype).to(memory_format=torch.channels_last)
    if precision == "bf16":
        encoder.compute_in(torch.bfloat16)
    kernels = config.trainer.kernels == "auto" and encoder.use_kernels()
    return Shared(encoder, digest, kernels)


def check_same(what: str, before: str | None, now: str) -> None:
    """Raise an `InputError` where a file's checksum differs from the one the run began with."""
    if before and before != now:
        raise InputError(f"{what} has changed since this run began (sha256 {now[:12]}, was {before[:12]})")


def least_side(config: RunConfig) -> int:
    """Return how long each side of an image has to be for the layers in use and the measures of a result, px."""
    return max(smallest_side(encoder_spec(config.backbone.name), used_taps(config)), SMALLEST_SIDE)


def check_size(
    kind: str, image: Pixels, config: RunConfig, edge: int, needed: int, scale: float = 1.0
) -> tuple[int, int]:
    """Return the working size (width, height) of an image at an edge, times `scale` (style_scale).

    Raises:
        InputError: too small for the layers in use, or above `max_megapixels`.
    """
    size = working_size(image.size, max(1, round(edge * scale)), config.fit)  # type: ignore[arg-type]
    scaled = "" if scale == 1 else f" style_scale={scale:g}"
    told = f"with edge={edge}{scaled}"
    if min(size) < needed:
        least = math.ceil(smallest_edge(image.size, needed, config.fit) / scale)  # type: ignore[arg-type]
        advice = f"edge={least} or more"
        if edge != config.edge:  # a smaller size of the pyramid
            told = f"at the {edge} px pyramid level (edge={config.edge}{scaled})"
            advice = f"edge={math.ceil(least * config.edge / edge)} or more, or schedule=single"
        raise InputError(
            f"{told} the {kind} image would be {size[0]}x{size[1]} px, but the selected layers need a short side of at "
            f"least {needed} px: use {advice}"
        )
    if size[0] * size[1] > config.max_megapixels * 1e6:
        raise InputError(
            f"{told} the {kind} image would be {size[0]}x{size[1]} px, {size[0] * size[1] / 1e6:.0f} megapixels; the "
            f"limit is {config.max_megapixels:g} (raise it with max_megapixels=N)"
        )
    return size
