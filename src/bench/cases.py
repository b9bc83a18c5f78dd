"""A step of the program at a size, outside of any loop: what is timed."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from src.bench.plan import STRATEGIES, Plan, mode_overrides
from src.bench.program import PublishedProgram
from src.bench.results import Label
from src.common.platform import has_bf16
from src.config.composition import compose
from src.config.schema import RunConfig
from src.data.sources import find_files
from src.encoders.recomputation import Recomputation
from src.encoders.registry import Architecture, architecture, convolution_of
from src.ops.kernels.winograd import available
from src.training.economy import Economy, free_bytes
from src.training.footprint import Footprint
from src.training.loop import find_device
from src.training.preparation import Preparation, Prepared
from src.training.session import new_record
from src.transfer.compilation import compiled
from src.transfer.objective import Taps
from src.transfer.optimizers import build_optimizer

CONTENT, STYLE = "cat", "swell"
DEEPEST = "conv5_1"  # of the published recipe
NO_BF16 = "not in this hardware"
BYTES = {"32": 4, "bf16": 2}
LIBRARIES = 1.0 * 2**30  # what a process holds before the first picture, the network included


@dataclass(frozen=True)
class Case:
    """One network at one size, square, in one precision and one of `plan.MODES` or `plan.STRATEGIES`, by the published
    recipe.
    """

    backbone: str
    edge: int
    precision: str = "32"
    mode: str = "eager"

    @property
    def label(self) -> Label:
        """Return what tells it from others."""
        return asdict(self)

    @property
    def name(self) -> str:
        """Return the same as one text."""
        return f"{self.backbone} {self.edge} {self.precision} {self.mode}"

    def config(self, *more: str) -> RunConfig:
        """Return its configuration. VGG's weights are random: speed does not depend on their values."""
        weights = "trained" if architecture(self.backbone).url is None else "random"
        named = (f"content={CONTENT}", f"style={STYLE}", f"backbone={self.backbone}", f"backbone.weights={weights}")
        size = (f"edge={self.edge}", f"precision={self.precision}", "logger=none", *mode_overrides(self.mode))
        return compose(["experiment=paper", *named, *size, *more])

    @property
    def operations(self) -> float:
        """Return the floating point operations of an evaluation's convolutions, to the image and back."""
        return 2 * forward_operations(architecture(self.backbone), DEEPEST, self.edge)

    @property
    def megapixels(self) -> float:
        """Return the size of its image."""
        return self.edge**2 / 1e6

    @property
    def footprint(self) -> Footprint:
        """Return what a step needs of memory."""
        recipe = self.config()
        taps = Taps.of(recipe)
        size = (self.edge, self.edge)
        return Footprint(
            size, size, architecture(self.backbone), recipe.backbone.pool, tuple(taps.style), taps.content,
            patches=False, palette=False, split=False, average=False, optimizer="adam", history=0, value=4,
            feature=BYTES[self.precision], tiled_filters=self.precision == "32" and available(), patchwork=False,
        )  # fmt: skip

    @property
    def needed_bytes(self) -> float:
        """Return roughly what a process needs for it."""
        blocks = self.footprint.blocks if self.mode in STRATEGIES else 0
        return LIBRARIES + self.footprint.need(Recomputation(blocks, self.mode == "tiled"))

    def obstacle(self, device: torch.device) -> str:
        """Return why a device cannot run it, or nothing."""
        if self.precision == "bf16" and not has_bf16(device):
            return NO_BF16
        needed, free = self.needed_bytes / 2**30, free_bytes(device) / 2**30
        return f"needs about {needed:.0f} GiB, and {free:.0f} are free" if needed > free else ""


def activations(known: Architecture, tap: str, edge: int) -> list[int]:
    """Return the size of each convolution's output up to a tap, in numbers, for an image of edge x edge."""
    sizes, side, block = [], edge, "1"
    for name, width in known.channels.items():
        if name[4] != block:
            side, block = side // 2, name[4]
        sizes.append(width * side * side)
        if name == convolution_of(tap):
            break
    return sizes


def forward_operations(known: Architecture, tap: str, edge: int) -> float:
    """Return those of the convolutions up to a tap, for an image of edge x edge; an addition counts as one."""
    inputs = [3, *known.channels.values()]
    return sum(2.0 * 9 * given * size for given, size in zip(inputs, activations(known, tap, edge), strict=False))


def device_of(plan: Plan) -> torch.device:
    """Return the device of a plan.

    Raises:
        InputError: this machine has none of the kind.
    """
    return find_device(compose(plan.overrides).trainer)


def prepare(config: RunConfig) -> Prepared:
    """Return what the loop of a configuration would begin with, at its full size."""
    return prepare_in(config)[0]


def prepare_in(config: RunConfig) -> tuple[Prepared, Economy]:
    """Return the same, and how it came to what of it is kept."""
    device = find_device(config.trainer)
    preparation = Preparation(config, new_record(config), find_files(config), device)
    economy = Economy(preparation.footprint(config.edge, begun=False), config.trainer.memory, device)
    return preparation.at(config.edge, None, recomputed=economy.recomputed), economy


def step_of(config: RunConfig, prepared: Prepared) -> Callable[[], None]:
    """Return a step without Lightning: evaluation, optimiser, projection."""
    canvas, objective = prepared.canvas, prepared.objective
    evaluated = compiled(objective) if config.trainer.compile == "always" else objective
    optimizer = build_optimizer(config.optimizer, canvas.parameters())

    def step() -> None:
        @torch.enable_grad()
        def evaluate() -> torch.Tensor:
            canvas.zero_grad()
            loss = evaluated(canvas.normalized()).total.sum()
            loss.backward()
            return loss

        optimizer.step(evaluate)  # type: ignore[arg-type]
        canvas.project()

    return step


def program_of(prepared: Prepared) -> PublishedProgram:
    """Return the published program on the same pictures with the same weights, in float32."""
    extractor = prepared.objective.extractor
    return PublishedProgram(extractor, extractor.normalize(prepared.content), extractor.normalize(prepared.style))
