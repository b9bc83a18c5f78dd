"""What a run counts on its way: what a checkpoint keeps of it, and what a logged point tells."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from src.tracking import names as keys
from src.training.metrics import Throughput, peak_mib


class Counting(Protocol):
    """What has these counters.

    Attributes:
        evaluations: of all processes of the run.
        initial_loss: the total loss of the start, once it is known.
        seconds_before: wall time of earlier stages and processes, s.
        throughput: of the loop.
    """

    evaluations: int
    initial_loss: float | None
    seconds_before: float
    throughput: Throughput

    @property
    def step(self) -> int:
        """Return the optimiser steps taken."""

    @property
    def seconds(self) -> float:
        """Return the wall time of the loop, s."""

    @property
    def device(self) -> torch.device:
        """Return where it runs."""


def saved(run: Counting, forgotten: int) -> dict[str, Any]:
    """Return the counters as a checkpoint keeps them, less evaluations that will be done again."""
    return {
        "step": run.step,
        "evaluations": run.evaluations - forgotten,
        "initial_loss": run.initial_loss,
        "seconds": run.seconds,
        "throughput": {key: value for key, value in vars(run.throughput).items() if key != "warmed"},
    }


def restore(run: Counting, kept: Mapping[str, Any]) -> None:
    """Take up what `saved` returned."""
    run.evaluations = kept["evaluations"]
    run.initial_loss = kept["initial_loss"]
    run.seconds_before = kept["seconds"]
    run.throughput = Throughput(**kept["throughput"])


def point(run: Counting, values: Mapping[str, float]) -> dict[str, float]:
    """Return what is logged of the present step: its counters and these values, which win where they tell the same."""
    counted = {
        keys.EVALUATIONS: run.evaluations,
        keys.SECONDS: run.seconds,
        keys.IT_PER_S: run.throughput.it_per_s,
        keys.MPX_IT_PER_S: run.throughput.mpx_it_per_s,
        keys.PEAK_MIB: peak_mib(run.device),
    }
    return {**values, **counted, **values}  # the losses in the first columns
