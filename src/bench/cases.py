"""Cases of the benchmark and one bare step of each: the only module here that uses the internals of a run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from src.batch.loop import at_once_on
from src.batch.objective import descend, joined
from src.bench.plan import STRATEGIES, Plan, mode_overrides
from src.bench.published import PublishedProgram
from src.bench.results import Label
from src.common.allocator import keep_freed
from src.common.platform import has_bf16, use_threads
from src.config.composition import compose
from src.config.schema import RunConfig
from src.data.sources import find_files
from src.encoders.registry import Architecture, architecture, convolution_of
from src.training.economy import Economy, free_bytes
from src.training.loop import find_device
from src.training.preparation import Preparation, Prepared
from src.training.session import new_record
from src.transfer.canvas import Canvas
from src.transfer.compilation import compiled
from src.transfer.optimizers import build_optimizer

CONTENT, STYLE = "cat", "swell"
DEEPEST = "conv5_1"  # deepest layer of the published recipe
NO_BF16 = "no bfloat16 in this hardware"
LIBRARIES = 1.25 * 2**30  # bytes of a process before the first image, the network included
# Memory of an evaluation as a multiple of the activations; bf16 counts 3 bytes a value, with its float32 copies.
COPIES, COPIES_TILED = 2.0, 0.75
VALUE_BYTES = {"32": 4, "bf16": 3}


@dataclass(frozen=True)
class Case:
    """One step of the published recipe: network, edge (px, square), precision, one of `plan.MODES` or `STRATEGIES`.

    `pairs` is the number of pairs in the batch, given only in section `batch`.
    """

    backbone: str
    edge: int
    precision: str = "32"
    mode: str = "eager"
    pairs: int | None = None

    @property
    def label(self) -> Label:
        """Return the identity of the case, for results."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def config(self, *more: str) -> RunConfig:
        """Return its configuration. VGG's weights are random: speed does not depend on their values."""
        weights = "trained" if architecture(self.backbone).url is None else "random"
        named = (f"content={CONTENT}", f"style={STYLE}", f"backbone={self.backbone}", f"backbone.weights={weights}")
        size = (f"edge={self.edge}", f"precision={self.precision}", "logger=none", *mode_overrides(self.mode))
        return compose(["experiment=paper", *named, *size, *more])

    @property
    def operations(self) -> float:
        """Return the floating point operations of the convolutions of a step, forward and back to the image."""
        return 2 * (self.pairs or 1) * forward_operations(architecture(self.backbone), DEEPEST, self.edge)

    @property
    def megapixels(self) -> float:
        """Return the size of its image."""
        return self.edge**2 / 1e6

    def obstacle(self, device: torch.device) -> str:
        """Return why the case cannot be measured on a device, or an empty string."""
        if self.precision == "bf16" and not has_bf16(device):
            return NO_BF16
        values = sum(activations(architecture(self.backbone), DEEPEST, self.edge)) * at_once_on(device, self.pairs or 1)
        copies = COPIES_TILED if self.mode == STRATEGIES[-1] else COPIES
        needed, free = LIBRARIES + copies * VALUE_BYTES[self.precision] * values, free_bytes(device)
        return f"needs about {needed / 2**30:.0f} GiB, {free / 2**30:.0f} are free" if needed > free else ""


def activations(known: Architecture, tap: str, edge: int) -> list[int]:
    """Return the number of outputs of each convolution up to a tap, for an image of edge x edge."""
    sizes, side, block = [], edge, "1"
    for name, width in known.channels.items():
        if name[4] != block:
            side, block = side // 2, name[4]
        sizes.append(width * side * side)
        if name == convolution_of(tap):
            break
    return sizes


def forward_operations(known: Architecture, tap: str, edge: int) -> float:
    """Return the floating point operations of the convolutions up to a tap; an addition counts as one."""
    inputs = [3, *known.channels.values()]
    return sum(2.0 * 9 * given * size for given, size in zip(inputs, activations(known, tap, edge), strict=False))


def open_device(plan: Plan) -> torch.device:
    """Set threads and allocator as `src.train` does, and return the device of a plan.

    Raises:
        InputError: this machine has no such device.
    """
    keep_freed()
    use_threads(plan.threads)
    return find_device(compose(plan.overrides).trainer)


@dataclass(frozen=True)
class Setup:
    """A run ready for its first step.

    Attributes:
        prepared: image model and objective at full size.
        estimate_mib: expected peak memory.
        note: what is recomputed in the backward pass, if anything.
    """

    config: RunConfig
    prepared: Prepared
    estimate_mib: float
    note: str


def set_up(config: RunConfig) -> Setup:
    """Load images and network, and measure the targets."""
    device = find_device(config.trainer)
    preparation = Preparation(config, new_record(config), find_files(config), device)
    economy = Economy(preparation.footprint(config.edge, begun=False), config.trainer.memory, device)
    prepared = preparation.at(config.edge, None, recomputed=economy.recomputed)
    blocks = economy.recomputed.blocks
    note = f"{blocks} of {economy.footprint.blocks} blocks recomputed" if blocks else ""
    return Setup(config, prepared, economy.estimate / 2**20, note)


def step_of(setup: Setup, pairs: int = 1) -> Callable[[], None]:
    """Return one step without Lightning, of a batch of the same pair: evaluation, optimiser, projection."""
    config, objective = setup.config, setup.prepared.objective
    canvas = Canvas.joined([setup.prepared.canvas] * pairs) if pairs > 1 else setup.prepared.canvas
    at_once = at_once_on(setup.prepared.content.device, pairs)
    parts = [joined([objective] * min(at_once, pairs - first)) for first in range(0, pairs, at_once)]
    evaluates = [compiled(part) for part in parts] if config.trainer.compile == "always" else parts
    optimizer = build_optimizer(config.optimizer, canvas.parameters())

    def step() -> None:
        canvas.zero_grad()
        if pairs == 1:
            evaluates[0](canvas.normalized()).total.sum().backward()
        else:
            descend(canvas, evaluates, at_once)
        optimizer.step()
        canvas.after_update()

    return step


def program_of(setup: Setup) -> PublishedProgram:
    """Return the published program with the same images and weights, in float32."""
    extractor, content, style = setup.prepared.objective.extractor, setup.prepared.content, setup.prepared.style
    convolutions = dict(extractor.convolutions.items())
    normalized = extractor.normalize(content), extractor.normalize(style)
    return PublishedProgram(convolutions, extractor.architecture.padding, *normalized)
