"""Timing that tolerates a busy machine: cases take turns, and the median of each counts."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch

from src.bench.plan import Plan
from src.common.platform import now

# Calls timed as one on a GPU, so that the host need not wait for each.
GPU_CHUNK = 20
Calls = Mapping[Any, Callable[[], object]]
Timings = Mapping[Any, dict[str, float]]


def interleaved(calls: Calls, plan: Plan, device: torch.device) -> dict[Any, dict[str, float]]:
    """Return for each call the median, extremes and number of its times (s), and the first time, compilation included.

    Every call is made once to warm up. Then one call (on a GPU: 20) of each is timed in turn, so that whatever slows
    the machine for a while slows all of them. This is repeated `plan.most` times, or `plan.least` times if the budget
    is spent by then.
    """
    chunk = 1 if device.type == "cpu" else GPU_CHUNK

    def timed(call: Callable[[], object], count: int) -> float:
        begun = now(device)
        for _ in range(count):
            call()
        return (now(device) - begun) / count

    first = {name: timed(call, 1) for name, call in calls.items()}
    if chunk > 1:
        for call in calls.values():
            timed(call, chunk)
    taken: dict[Any, list[float]] = {name: [] for name in calls}
    begun = now(device)
    for turn in range(plan.most):
        if turn >= plan.least and now(device) - begun > plan.budget:
            break
        for name, call in calls.items():
            taken[name].append(timed(call, chunk))
    return {
        name: {
            "seconds": statistics.median(times),
            "fastest": min(times),
            "slowest": max(times),
            "repeats": len(times),
            "first": first[name],
        }
        for name, times in taken.items()
    }
