"""A step of the program at a size, outside of any loop: what is timed."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from src.backbones.registry import Architecture, architecture, convolution_of
from src.benchmark.plan import Plan, compile_override
from src.benchmark.program import PublishedProgram
from src.benchmark.results import Label
from src.catalogue import find_files
from src.compiling import compiled
from src.composition import compose
from src.config import RunConfig
from src.loop import find_device
from src.optimizers import build_optimizer
from src.preparation import Preparation, Prepared, has_bf16
from src.session import new_record

CONTENT, STYLE = "cat", "swell"
DEEPEST = "conv5_1"  # of the published recipe
NO_BF16 = "not in this hardware"
BYTES = {"32": 4, "bf16": 2}
LIBRARIES = 1.5 * 2**30  # what a process holds before the first picture, the network included


@dataclass(frozen=True)
class Case:
    """One network at one size, square, in one precision and one of `plan.MODES`, by the published recipe."""

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
        size = (f"edge={self.edge}", f"precision={self.precision}", "logger=none", *compile_override(self.mode))
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
    def needed_bytes(self) -> float:
        """Return roughly what a step needs: every activation, with its padding where that is a copy, and the gradients
        of the largest.
        """
        known = architecture(self.backbone)
        kept = activations(known, DEEPEST, self.edge)
        copies = 1 if known.padding == "zeros" else 2
        return LIBRARIES + BYTES[self.precision] * (1.5 * copies * sum(kept) + 3 * max(kept))

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


def free_bytes(device: torch.device) -> float:
    """Return what is free: of the GPU's memory, or of this machine's, or of what a container may take of it."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    found = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))]
    try:
        entries = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found = [float(entries["MemAvailable"].split()[0]) * 1024]
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        found.append(float(limit) - float(used))
    except (OSError, KeyError, ValueError):  # not Linux, no container, or one without a limit ("max")
        pass
    return min(found)


def device_of(plan: Plan) -> torch.device:
    """Return the device of a plan.

    Raises:
        InputError: this machine has none of the kind.
    """
    return find_device(compose(plan.overrides).trainer)


def prepare(config: RunConfig) -> Prepared:
    """Return what the loop of a configuration would begin with, at its full size."""
    preparation = Preparation(config, new_record(config), find_files(config), find_device(config.trainer))
    return preparation.at(config.edge, None)


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
