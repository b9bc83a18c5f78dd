"""How long the command takes to begin, against what importing the libraries takes alone."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from src.bench.plan import Plan
from src.bench.results import Measured
from src.config.schema import CONF

LIBRARIES = "import torch, torchvision, torchmetrics, pytorch_lightning"
IMPORTS, HELP, STEP = "imports", "--help", "one step of the demo"


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield each command's time and its ratio to the imports; all are started in turn."""
    with tempfile.TemporaryDirectory() as folder:
        taken: dict[str, list[float]] = {}
        for turn in range(plan.starts):
            for name, arguments in commands(plan, Path(folder) / str(turn)).items():
                taken.setdefault(name, []).append(seconds_of(arguments))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for name, seconds in medians.items():
        yield Measured({"command": name}, {"seconds": seconds, "ratio": seconds / medians[IMPORTS]})


def commands(plan: Plan, folder: Path) -> dict[str, list[str]]:
    """Return what Python is started with. The step is that of `make demo`, without a tracker, into a folder."""
    size = [] if plan.start_edge is None else [f"edge={plan.start_edge}"]
    step = ["experiment=demo", "steps=1", "logger=none", f"hydra.sweep.dir={folder}", *plan.overrides, *size]
    return {
        IMPORTS: ["-c", LIBRARIES],
        HELP: ["-m", "src.train", "--help"],
        STEP: ["-m", "src.train", *step],
    }


def seconds_of(arguments: list[str]) -> float:
    """Return the wall time of a Python process, s.

    Raises:
        CalledProcessError: it failed.
    """
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=CONF.parent, check=True, capture_output=True)
    return time.perf_counter() - begun
