"""Timing that a busy machine disturbs least: cases taken in turn, the median of each."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from src.bench.plan import Plan
from src.common.platform import now

# Steps timed as one on a GPU, where the host must not wait for each.
GPU_CHUNK = 20


@dataclass(frozen=True)
class Timing:
    """What a call takes.

    Attributes:
        seconds: the median.
        first: the first call's, s, which compiles what there is to compile.
        fastest, slowest: the extremes after it, s.
        repeats: how often it was measured after that.
    """

    seconds: float
    first: float
    fastest: float
    slowest: float
    repeats: int

    @classmethod
    def of(cls, first: float, taken: list[float]) -> "Timing":
        """Summarise what was measured."""
        return cls(statistics.median(taken), first, min(taken), max(taken), len(taken))


def interleaved(cases: Mapping[str, Callable[[], object]], plan: Plan, device: torch.device) -> dict[str, Timing]:
    """Return what one call of each case takes.

    Each case warms up, and then one call (on a GPU: twenty) of every case is timed before the next of any, so that
    what slows the machine down for a while slows all of them. This goes on for the plan's number of repeats, and
    stops short of it at its least where its budget is spent.

    Args:
        cases: what to call, by name.
        plan: how often.
        device: what must have done its work before the clock is read.
    """
    chunk = 1 if device.type == "cpu" else GPU_CHUNK

    def timed(case: Callable[[], object], calls: int) -> float:
        begun = now(device)
        for _ in range(calls):
            case()
        return (now(device) - begun) / calls

    first = {name: timed(case, 1) for name, case in cases.items()}
    if chunk > 1:
        for case in cases.values():
            timed(case, chunk)
    taken: dict[str, list[float]] = {name: [] for name in cases}
    begun = now(device)
    for repeat in range(plan.most):
        if repeat >= plan.least and now(device) - begun > plan.budget:
            break
        for name, case in cases.items():
            taken[name].append(timed(case, chunk))
    return {name: Timing.of(first[name], times) for name, times in taken.items()}
