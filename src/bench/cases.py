"""Cases of the benchmark and one bare step of each: the only module here that uses the internals of a run."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from src.bench.plan import STRATEGIES, Plan, mode_overrides
from src.bench.published import PublishedProgram
from src.bench.results import Label
from src.common.platform import allotted_threads, has_bf16
from src.config.composition import compose
from src.config.schedule import stages
from src.config.schema import RunConfig
from src.encoders.registry import VGGSpec, encoder_spec
from src.encoders.vgg import VGG
from src.training.context import RunContext
from src.training.loop import default_at_once, find_device
from src.training.memory import free_bytes
from src.training.setup import PreparedRun
from src.transfer.compilation import Evaluate, compiled
from src.transfer.image_models.registry import build_image_model
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
        weights = "trained" if self.backbone == "embedded" else "random"
        named = (f"content={CONTENT}", f"style={STYLE}", f"backbone={self.backbone}", f"backbone.weights={weights}")
        size = (f"edge={self.edge}", f"precision={self.precision}", "logger=none", *mode_overrides(self.mode))
        pools = encoder_spec(self.backbone).pools
        pool = () if "max" in pools else (f"backbone.pool={pools[0]}",)  # the preset has max
        return compose(["experiment=paper", *named, *pool, *size, *more])

    @property
    def operations(self) -> float:
        """Return the floating point operations of the convolutions of a step, forward and back to the image."""
        return 2 * (self.pairs or 1) * forward_operations(network(self.backbone), DEEPEST, self.edge)

    @property
    def megapixels(self) -> float:
        """Return the size of its image."""
        return self.edge**2 / 1e6

    def obstacle(self, device: torch.device) -> str:
        """Return why the case cannot be measured on a device, or an empty string."""
        if self.precision == "bf16" and not has_bf16(device):
            return NO_BF16
        values = sum(activations(network(self.backbone), DEEPEST, self.edge)) * default_at_once(device, self.pairs or 1)
        copies = COPIES_TILED if self.mode == STRATEGIES[-1] else COPIES
        needed, free = LIBRARIES + copies * VALUE_BYTES[self.precision] * values, free_bytes(device)
        return f"needs about {needed / 2**30:.0f} GiB, {free / 2**30:.0f} are free" if needed > free else ""


def network(name: str) -> VGGSpec:
    """Return the network of a case."""
    spec = encoder_spec(name)
    assert isinstance(spec, VGGSpec)
    return spec


def activations(known: VGGSpec, last: str, edge: int) -> list[int]:
    """Return the number of outputs of each convolution up to the last one, for an image of edge x edge."""
    names = list(known.channels)
    names = names[: names.index(last) + 1]
    return [known.channels[name] * (edge // known.taps[name].stride) ** 2 for name in names]


def forward_operations(known: VGGSpec, last: str, edge: int) -> float:
    """Return the floating point operations of the convolutions up to the last one; an addition counts as one."""
    inputs = [3, *known.channels.values()]
    return sum(2.0 * 9 * given * size for given, size in zip(inputs, activations(known, last, edge), strict=False))


def open_device(plan: Plan) -> torch.device:
    """Set the threads as `src.train` does, and return the device of a plan.

    Raises:
        InputError: this machine has no such device.
    """
    torch.set_num_threads(allotted_threads(plan.threads) or torch.get_num_threads())
    return find_device(compose(plan.overrides).trainer)


@dataclass(frozen=True)
class Setup:
    """A run ready for its first step: images and encoder are loaded, targets measured.

    Attributes:
        run: with the objective of its pair, and its memory budget.
        start: (1, 3, H, W), the starting image.
    """

    run: PreparedRun
    start: Tensor

    @classmethod
    def of(cls, config: RunConfig) -> "Setup":
        """Set up the only stage of a configuration, without a run folder."""
        context = RunContext(config, Path("multirun/bench/unused"))
        context.check()
        run = PreparedRun(context, find_device(config.trainer))
        (stage,) = stages(config)
        return cls(run, run.enter(stage, None, fresh=True))

    @property
    def estimate_mib(self) -> float:
        """Return the expected peak memory."""
        return self.run.budget.expected / 2**20

    @property
    def note(self) -> str:
        """Return how many blocks are recomputed for the gradient, or an empty string."""
        blocks = self.run.budget.checkpointing.blocks
        return f"{blocks} of {self.run.budget.estimate.blocks} blocks recomputed" if blocks else ""

    def program(self) -> PublishedProgram:
        """Return the published program with the same images and weights, in float32."""
        encoder, inputs = self.run.encoder, self.run.inputs
        assert isinstance(encoder, VGG)
        images = encoder.normalize(inputs.content), encoder.normalize(inputs.style)
        return PublishedProgram(dict(encoder.convolutions.items()), encoder.spec.padding, *images)


class Step:
    """One step without Lightning, as `StyleTransferModule` takes it: evaluation, optimiser, projection.

    Args:
        setup: of the run.
        pairs: samples of the batch, copies of the same pair.
    """

    def __init__(self, setup: Setup, pairs: int = 1) -> None:
        run, config = setup.run, setup.run.context.config
        self.image = build_image_model(config, setup.start.repeat(pairs, 1, 1, 1), run.encoder).to(run.device)
        compiling = config.trainer.compile == "always"
        self.at_once = pairs if compiling else default_at_once(run.device, pairs)
        sizes = [min(self.at_once, pairs - first) for first in range(0, pairs, self.at_once)]
        self.objectives = [run.pair.objective.join([run.pair.objective] * size) for size in sizes]
        self.evaluates: list[Evaluate] = [compiled(each) if compiling else each for each in self.objectives]
        self.optimizer = build_optimizer(config.optimizer, self.image.parameters())

    def __call__(self) -> None:
        """Take the step."""
        self.image.zero_grad()
        rendered = self.image.render()
        leaves = [each.detach().requires_grad_() for each in rendered.split(self.at_once)]
        for leaf, evaluate in zip(leaves, self.evaluates, strict=True):
            evaluate(leaf).total.sum().backward()
        rendered.backward(torch.cat([leaf.grad for leaf in leaves if leaf.grad is not None]))
        self.optimizer.step()
        self.image.after_update()
