"""Evaluations per second of the optimisation loop."""

from dataclasses import dataclass

WARM_UP = 3


@dataclass
class Throughput:
    """Evaluations (one forward and backward pass each) per second, over all sizes of a run.

    Captures, logging and checkpoints are left out, and so are the first `WARM_UP` evaluations of a process and size
    unless there are no others. Its fields are part of a checkpoint.
    """

    evaluations: int = 0
    seconds: float = 0.0
    megapixels: float = 0.0
    warm_evaluations: int = 0
    warm_seconds: float = 0.0
    warm_megapixels: float = 0.0
    warmed: int = 0

    def add(self, evaluations: int, seconds: float, megapixels: float) -> None:
        """Count evaluations at a size, megapixels, that took so many seconds together."""
        self.evaluations += evaluations
        self.seconds += seconds
        self.megapixels += evaluations * megapixels
        if self.warmed >= WARM_UP:
            self.warm_evaluations += evaluations
            self.warm_seconds += seconds
            self.warm_megapixels += evaluations * megapixels
        self.warmed += evaluations

    @property
    def it_per_s(self) -> float:
        """Return evaluations per second; 0 before the first."""
        return self._rate(self.warm_evaluations, self.evaluations)

    @property
    def mpx_it_per_s(self) -> float:
        """Return megapixels times evaluations per second, which compares sizes; 0 before the first."""
        return self._rate(self.warm_megapixels, self.megapixels)

    def _rate(self, warm: float, all_: float) -> float:
        if self.warm_seconds > 0:
            return warm / self.warm_seconds
        return all_ / self.seconds if self.seconds > 0 else 0.0
