"""What the whole loop costs beside its steps: the module under Lightning's Trainer against the bare step."""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from src.bench.cases import Case, device_of, step_of
from src.bench.plan import Plan
from src.bench.results import Measured
from src.common.errors import Interrupted
from src.common.platform import now
from src.common.signals import Interrupts
from src.data.sources import find_files
from src.tracking.csv_logger import Tracker
from src.training.loop import fit
from src.training.preparation import Preparation
from src.training.session import Session, new_record

RARELY = 10**6


class Clock(Tracker):
    """Tracks nothing but the time at which the loop logs: between two points lie all steps from one to the other.

    The last capture, whose point has a picture, is none of them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.points: list[tuple[int, float]] = []

    def log_point(self, values: dict[str, float], step: int, picture: Path | None = None) -> None:
        """Note the time."""
        if picture is None:
            self.points.append((step, now(self.device)))

    @property
    def seconds(self) -> float:
        """Return the time of a step between the first point and the last."""
        (first, begun), (last, ended) = self.points[0], self.points[-1]
        return (ended - begun) / (last - first)


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield the time of a step in both, and the loop's share.

    The loop has no trackers and no checkpoints, keeps the last picture alone, and looks at the loss at every pause, as
    it always does.
    """
    device = device_of(plan)
    for backbone, edge in plan.loops:
        case = Case(backbone, edge)
        if obstacle := case.obstacle(device):
            yield Measured(case.label, note=obstacle)
            continue
        steps = plan.loop_steps
        quiet = (f"log_every={steps - 1}", f"checkpoint_every={RARELY}", "captures=[1.0]")
        config = case.config(f"steps={steps}", *quiet, *plan.overrides)
        preparation = Preparation(config, new_record(config), find_files(config), device)
        step = step_of(config, preparation.at(config.edge, None))
        taken: dict[str, list[float]] = {"bare": [], "loop": []}
        step()
        for _ in range(plan.least):
            begun = now(device)
            for _ in range(steps - 1):
                step()
            taken["bare"].append((now(device) - begun) / (steps - 1))
            clock = Clock(device)
            with tempfile.TemporaryDirectory() as folder, Interrupts() as interrupts:
                fit(Session(config, Path(folder), new_record(config), trackers=[clock]), preparation, interrupts)
            if interrupts.received is not None:
                raise Interrupted(interrupts.received)
            taken["loop"].append(clock.seconds)
        bare, loop = (statistics.median(taken[name]) for name in ("bare", "loop"))
        yield Measured(case.label, {"bare_seconds": bare, "loop_seconds": loop, "share": 1 - bare / loop})
