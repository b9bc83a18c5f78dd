"""How much is measured: everything, or little of it to see that all works. No torch here, so `--help` is quick."""

from dataclasses import dataclass

# What `python -m src.bench NAME ...` measures, in this order.
SECTIONS = {
    "roof": "the machine's own rates of convolution and of matrix multiplication",
    "speed": "steps per second by size, network and precision, and their share of the roof",
    "race": "a step against the published program's, in turn",
    "lightning": "a step under Lightning's Trainer against the bare one, in turn",
    "batch": "many pairs at once: steps per second of each pair, and of all, by their number",
    "memory": "peak memory by size and strategy with what was expected, each in a process of its own",
    "target": "time to the loss that the published recipe ends with",
    "curves": "loss of the default objective against evaluations and seconds, by optimiser",
    "precision": "final loss in bfloat16 against float32",
    "startup": "--help and a one-step run against importing the libraries alone, in turn",
}
PRECISIONS = ("32", "bf16")
KINDS = ("convolution", "product")  # of what the roof is made
PROGRAM = "program"  # in the place of a mode: the published program
MODES = ("eager", "compiled")  # how a step is evaluated
STRATEGIES = ("checkpointed", "tiled")  # the same, eager, with less kept for the gradient


def mode_overrides(mode: str) -> tuple[str, ...]:
    """Return the overrides that ask the program for one of `MODES` or `STRATEGIES`."""
    compile, memory = "always" if mode == "compiled" else "never", mode if mode in STRATEGIES else "whole"
    return f"trainer.compile={compile}", f"trainer.memory={memory}"


@dataclass(frozen=True)
class Plan:
    """What to measure, and how often.

    Attributes:
        trainer: as in `trainer=NAME`, the device.
        modes: of `MODES`, those to measure.
        backbones: the networks of `speed` and `memory`.
        sizes: the edges of their squares, px.
        large: one more of `memory`, with as many pixels as 3840 x 2160 has.
        races: network and edge of each case held against the published program.
        loops: network and edge of each case held against Lightning's loop.
        loop_steps: steps of one such loop.
        batches: network and edge of each case of many pairs at once, on a GPU, and
        batches_on_cpu: on a CPU.
        pairs: how many pairs at once.
        least, most: repeats of a timing, and
        budget: s, after which it takes no more than the least.
        starts: repeats of a process.
        start_edge: px of the one-step run; None is the demo's own.
        target_steps: steps after which a run that has not reached its target stops.
        curve_pairs, precision_pairs: how many pairs of `curves` and of `precision`, of
        curve_edge: px, and
        curve_overrides: what their configurations end with.
    """

    trainer: str = "auto"
    modes: tuple[str, ...] = MODES
    backbones: tuple[str, ...] = ("vgg19", "embedded")
    sizes: tuple[int, ...] = (256, 356, 512, 1024, 2048)
    large: tuple[int, ...] = (2880,)
    races: tuple[tuple[str, int], ...] = (("vgg19", 356), ("embedded", 356), ("embedded", 160))
    loops: tuple[tuple[str, int], ...] = (("vgg19", 356), ("embedded", 356), ("embedded", 64))
    loop_steps: int = 20
    batches: tuple[tuple[str, int], ...] = (("vgg19", 356), ("embedded", 128))
    batches_on_cpu: tuple[tuple[str, int], ...] = (("embedded", 128),)
    pairs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    least: int = 3
    most: int = 15
    budget: float = 60.0
    starts: int = 7
    start_edge: int | None = None
    target_steps: int = 6000
    curve_pairs: int = 3
    precision_pairs: int = 5
    curve_edge: int = 160
    curve_overrides: tuple[str, ...] = ()

    @property
    def overrides(self) -> tuple[str, ...]:
        """Return what every configuration of this plan begins with."""
        return (f"trainer={self.trainer}",)


def full(trainer: str) -> Plan:
    """Return the plan whose figures the README shows."""
    return Plan(trainer)


def quick(trainer: str) -> Plan:
    """Return one that takes seconds, and whose figures mean nothing."""
    return Plan(
        trainer,
        modes=("eager",),
        backbones=("embedded",),
        sizes=(48,),
        large=(),
        races=(("embedded", 48),),
        loops=(("embedded", 32),),
        loop_steps=5,
        batches=(("embedded", 48),),
        batches_on_cpu=(("embedded", 48),),
        pairs=(1, 2),
        least=2,
        most=2,
        budget=0.0,
        starts=1,
        start_edge=32,
        target_steps=20,
        curve_pairs=1,
        precision_pairs=1,
        curve_edge=64,
        curve_overrides=("steps=6",),
    )
