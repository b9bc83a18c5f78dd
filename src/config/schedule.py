"""When things happen: the stages of a run, and the steps at which its loop must pause."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.common.errors import InputError
from src.config.schema import RunConfig

# Below this there is too little to see for a style.
SMALLEST_EDGE = 64


@dataclass(frozen=True)
class Stage:
    """A part of a run at one size.

    Attributes:
        edge: long side of the image, px.
        first: the step it starts from.
        last: the step it ends at; the next stage starts from there.
    """

    edge: int
    first: int
    last: int


def stages(config: RunConfig) -> list[Stage]:
    """Return the stages of a run, smallest first: edges a factor apart, and the steps shared among them.

    Coarse to fine, as Gatys, Ecker, Bethge, Hertzmann and Shechtman 2017 and most programs since: large structures of
    the style form where they are small, at a fraction of the cost.
    """
    options = config.schedule
    edges = [round(config.edge / options.factor**k) for k in range(options.sizes)]
    # a run of fewer steps than sizes has a stage a step
    edges = [config.edge, *(edge for edge in edges[1:] if edge >= SMALLEST_EDGE)][: config.steps][::-1]
    before = len(edges) - 1
    share = 1 / len(edges) if options.last is None or not before else (1 - options.last) / before
    # every stage has a step of its own
    ends = [sorted((k + 1, round(config.steps * share * (k + 1)), config.steps - before + k))[1] for k in range(before)]
    return [
        Stage(edge, first, last) for edge, first, last in zip(edges, [0, *ends], [*ends, config.steps], strict=True)
    ]


def capture_steps(captures: Sequence[Any], steps: int) -> list[int]:
    """Return the steps at which the picture is kept, sorted; the last step is always one of them.

    A whole number is a step (0 is the start), anything with a decimal point a fraction of `steps`.

    Raises:
        InputError: out of range, or not a number.
    """
    found = {steps}
    for value in captures:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"captures: {value!r} is not a number; give fractions (0.33) or step numbers (100)")
        if isinstance(value, float):
            if not 0 <= value <= 1:
                raise InputError(f"captures: the fraction {value} is not in [0, 1]; write a step without a point")
            found.add(round(value * steps))
        elif 0 <= value <= steps:
            found.add(value)
        else:
            raise InputError(f"captures: step {value} is not in 0..{steps} (steps={steps})")
    return sorted(found)


@dataclass(frozen=True)
class Timetable:
    """The steps of a run and the pauses between them.

    Attributes:
        steps: optimiser steps in all.
        captures: steps at which the picture is kept, ascending; the last is `steps`.
        log_every: steps between logged points.
        checkpoint_every: steps between checkpoints.
        chunk: most steps taken without looking at the loss. Looking makes a GPU wait, and costs a CPU nothing.
    """

    steps: int
    captures: tuple[int, ...]
    log_every: int
    checkpoint_every: int
    chunk: int = 1

    def next_pause(self, step: int) -> int:
        """Return the first step after `step` at which something is due."""
        pauses = [self.steps, step + self.chunk]
        pauses += [after for after in self.captures if after > step]
        pauses += [(step // every + 1) * every for every in (self.log_every, self.checkpoint_every)]
        return min(pauses)

    def logs_at(self, step: int) -> bool:
        """Return whether a point is due at `step`."""
        return step % self.log_every == 0

    def saves_at(self, step: int) -> bool:
        """Return whether a checkpoint is due at `step`."""
        return step % self.checkpoint_every == 0 or step == self.steps
