"""One pair of a batch: its objective, its counters, and how far its optimisation has come."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from src.tracking import names
from src.tracking.loggers import RunLoggers
from src.training.throughput import Throughput
from src.transfer.objective import Objective


@dataclass
class Counters:
    """What a run counts over all its stages and processes; a checkpoint keeps it.

    Attributes:
        evaluations: forward and backward passes.
        initial_loss: total loss of the starting image, once known.
        seconds: wall time of the loop before the present stage or process, s.
        throughput: of the loop.
        jumped: step, and loss before and after it, of the first jump that was not halved; None if there was none.
    """

    evaluations: int = 0
    initial_loss: float | None = None
    seconds: float = 0.0
    throughput: Throughput = field(default_factory=Throughput)
    jumped: tuple[int, float, float] | None = None

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Counters":
        """Return the counters of a checkpoint; a new process warms up anew."""
        return cls(**{**state, "throughput": Throughput(**{**state["throughput"], "warmed": 0})})


class Pair:
    """A content and style image under optimisation, one sample of a batch.

    Args:
        loggers: receive the metrics; None for a pair without a run folder.
        stop_at_loss: the optimisation ends when the total loss is tested and at or below this, in the last stage.

    Attributes:
        objective: of the present stage.
        latest, latest_step: losses of the last observed evaluation by metric name, and the step they belong to.
        reached: the loss to stop at is reached.
        non_finite_at: the step at which the loss was not finite.
        last_finite: step and parameters of the last image whose loss was finite.
        judged: loss and parameters of the last image that Adam's loss was tested at. Updates that make the loss jump
            are pulled back towards them. A capture sets `last_finite`, but not this, to an image that was not tested.
        error: what failed for this pair alone, such as a full disk under its log.
    """

    objective: Objective

    def __init__(self, loggers: RunLoggers | None = None, stop_at_loss: float | None = None) -> None:
        self.loggers = loggers
        self.stop_at_loss = stop_at_loss
        self.counters = Counters()
        self.latest: dict[str, float] = {}
        self.latest_step = 0
        self.reached = False
        self.non_finite_at: int | None = None
        self.last_finite: tuple[int, dict[str, Tensor]] | None = None
        self.judged: tuple[float, dict[str, Tensor]] | None = None
        self.error: Exception | None = None
        self.logged_step = -1
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Return the wall time of the loop, s, over all stages and processes."""
        return self.counters.seconds + time.perf_counter() - self.started

    @property
    def stopped(self) -> bool:
        """Return whether the pair has come to its end before the last step."""
        return self.reached or self.non_finite_at is not None or self.error is not None

    def image_step(self, step: int) -> int:
        """Return how many updates the image has seen: fewer than `step` where a non-finite one was undone."""
        return self.last_finite[0] if self.non_finite_at is not None and self.last_finite is not None else step

    def observe(self, values: Mapping[str, float], step: int, may_reach: bool) -> bool:
        """Take note of the losses of the image after `step` updates; return whether the pair ends here.

        Args:
            values: the losses by metric name.
            step: number of updates.
            may_reach: the loss is compared with `stop_at_loss`.
        """
        self.latest, self.latest_step = self._own(values), step
        total = values[names.TOTAL]
        if self.counters.initial_loss is None:
            self.counters.initial_loss = total
        if not math.isfinite(total):
            self.non_finite_at = step
        elif may_reach and self.stop_at_loss is not None and total <= self.stop_at_loss:
            self.reached = True
        return self.stopped

    def _own(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the values of the terms that carry weight for this pair; others of its batch may use more terms."""
        active = {names.TOTAL, *(names.loss_key(name) for name in self.objective.weighted)}
        return {
            key: value
            for key, value in values.items()
            if key in active or any(key.startswith(f"{each}/") for each in active)
        }

    def log_point(self, values: Mapping[str, float], step: int, peak_mib: float, picture: Path | None = None) -> None:
        """Send one row to the loggers: losses, counters and throughput, with a picture where one was captured.

        A step is logged once, except that a run which reaches its loss where it was captured before has results to add.
        """
        if self.loggers is None or step < self.logged_step + (not self.reached):
            return
        self.logged_step = step
        throughput = self.counters.throughput
        counted = {
            names.EVALUATIONS: self.counters.evaluations,
            names.SECONDS: self.seconds,
            names.IT_PER_S: throughput.it_per_s,
            names.MPX_IT_PER_S: throughput.mpx_it_per_s,
            names.PEAK_MIB: peak_mib,
        }
        # Losses come first in the columns, and a value that is given replaces the counted one.
        self.loggers.log_point({**values, **counted, **values}, step, picture)
