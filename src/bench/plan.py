"""What to measure, and how often. Imports no torch, so `--help` is quick."""

from dataclasses import dataclass

# Names for `python -m src.bench NAME ...`, in the order of measurement.
SECTIONS = {
    "peak_rate": "rates of convolution and matrix product by PyTorch's own kernels",
    "speed": "steps per second by size, network and precision, and their share of the peak rates",
    "race": "our step against the published program's",
    "lightning": "a step in the whole loop (Lightning, logging) against a bare one",
    "batch": "steps per second by the number of pairs in a batch",
    "one_pass": "pictures per second of networks in one pass, by size and runtime",
    "memory": "peak memory by size and strategy against the estimate, each case in its own process",
    "target": "time to the loss that the published recipe ends with",
    "precision": "final loss in bfloat16 against float32",
    "startup": "time of --help and of a one-step run against importing the libraries",
}
PRECISIONS = ("32", "bf16")
MODES = ("eager", "compiled")
STRATEGIES = ("checkpointed", "tiled")  # activation checkpointing, eager
PROGRAM = "program"  # the published program, in place of a mode


def mode_overrides(mode: str) -> tuple[str, ...]:
    """Return the options for one of `MODES` or `STRATEGIES`."""
    compile, memory = "always" if mode == "compiled" else "never", mode if mode in STRATEGIES else "whole"
    return f"trainer.compile={compile}", f"trainer.memory={memory}"


@dataclass(frozen=True)
class Plan:
    """What to measure, and how often. Cases are (network, edge); edges are sides of square images, px."""

    trainer: str = "auto"  # the device, as in trainer=NAME
    threads: int | None = None  # as in trainer.threads=N
    modes: tuple[str, ...] = MODES
    # speed and memory; memory alone also measures `large`: as many pixels as 3840 x 2160
    backbones: tuple[str, ...] = ("vgg19", "embedded")
    sizes: tuple[int, ...] = (256, 356, 512, 1024, 2048)
    large: tuple[int, ...] = (2880,)
    # race; lightning, with the steps of a loop; batch, with the numbers of pairs
    races: tuple[tuple[str, int], ...] = (("vgg19", 356), ("embedded", 356), ("embedded", 160))
    loops: tuple[tuple[str, int], ...] = (("vgg19", 356), ("embedded", 356), ("embedded", 64))
    loop_steps: int = 20
    batches: tuple[tuple[str, int], ...] = (("vgg19", 356), ("embedded", 128))
    batches_on_cpu: tuple[tuple[str, int], ...] = (("embedded", 128),)
    pairs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    # one_pass
    networks: tuple[str, ...] = ("small", "half", "johnson")
    pictures: tuple[int, ...] = (256, 512, 1024)
    # a timing is repeated `most` times, or `least` times if that takes longer than `budget` seconds
    least: int = 3
    most: int = 15
    budget: float = 60.0
    # memory: measure each case in a process of its own, so that no peak hides another
    isolated: bool = True
    # startup: processes per command, and whether a one-step run is among the commands
    starts: int = 7
    start_run: bool = True
    # target, precision: numbers of image pairs and of optimisers (None: all), and options of the runs
    target_steps: int = 6000
    target_pairs: int = 6
    precision_pairs: int = 5
    ways: int | None = None
    precision_edge: int = 160
    precision_overrides: tuple[str, ...] = ()

    @property
    def overrides(self) -> tuple[str, ...]:
        """Return the options shared by all configurations of this plan."""
        return f"trainer={self.trainer}", f"trainer.threads={self.threads or 'null'}"


def quick(trainer: str) -> Plan:
    """Return the smallest case of every section, to check that all of them work; its figures mean nothing."""
    return Plan(
        trainer,
        threads=1,  # on busy cores threads wait for one another
        modes=MODES[:1],
        backbones=("embedded",),
        sizes=(48,),
        large=(),
        races=(("embedded", 48),),
        loops=(("embedded", 32),),
        loop_steps=5,
        batches=(("embedded", 48),),
        batches_on_cpu=(("embedded", 48),),
        pairs=(1, 2),
        networks=("small",),
        pictures=(64,),
        least=1,
        most=1,
        isolated=False,  # importing the libraries once more takes a minute on busy cores
        starts=1,
        start_run=False,
        target_steps=5,
        target_pairs=1,
        precision_pairs=1,
        ways=2,
        precision_edge=64,
        precision_overrides=("steps=6",),
    )
