"""Start-up time of the command, against importing the libraries alone."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from src.bench.plan import Plan
from src.bench.results import Row
from src.config.schema import CONF

LIBRARIES = "import torch, torchvision, torchmetrics, pytorch_lightning"
IMPORTS, HELP, STEP = "imports", "--help", "one step of the demo"


def measure(plan: Plan) -> Iterator[Row]:
    """Yield the time of each command and its ratio to the imports; the commands take turns."""
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(plan.starts):
            for name, arguments in commands(plan, Path(folder) / str(turn)).items():
                taken.setdefault(name, []).append(seconds_of(arguments))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for name, seconds in medians.items():
        yield Row({"command": name}, {"seconds": seconds, "ratio": seconds / medians[IMPORTS]})


def commands(plan: Plan, folder: Path) -> dict[str, list[str]]:
    """Return Python's arguments for each command; the step is that of `make demo`, without a logger."""
    step = ["-m", "src.train", "experiment=demo", "steps=1", "logger=none", f"hydra.sweep.dir={folder}"]
    found = {IMPORTS: ["-c", LIBRARIES], HELP: ["-m", "src.train", "--help"], STEP: [*step, *plan.overrides]}
    return found if plan.start_run else {name: found[name] for name in (IMPORTS, HELP)}


def seconds_of(arguments: list[str]) -> float:
    """Return the wall time of a Python process, s.

    Raises:
        CalledProcessError: it failed.
    """
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=CONF.parent, check=True, capture_output=True)
    return time.perf_counter() - begun
