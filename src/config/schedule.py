"""The stages of a run and the steps at which its loop pauses."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.common.errors import InputError
from src.config.schema import RunConfig

# Long side of the smallest stage, px: below this a style has no room.
SMALLEST_EDGE = 64


@dataclass(frozen=True)
class Stage:
    """The part of a run at one size, and through one set of cameras (`canvas.turns`).

    Attributes:
        edge: long side of the image, px.
        first: the step it starts at.
        last: the step it ends at, where the next stage starts.
        turn: number of the set of cameras, from 0.
        earlier: steps at the same size before it, through other cameras.
    """

    edge: int
    first: int
    last: int
    turn: int = 0
    earlier: int = 0


def stages(config: RunConfig) -> list[Stage]:
    """Return the stages of a run, smallest first.

    Coarse to fine, as in Gatys, Ecker, Bethge, Hertzmann and Shechtman 2017: large structures of the style form at a
    small size, at a fraction of the cost.
    """
    options = config.schedule
    edges = [round(config.edge / options.factor**k) for k in range(options.sizes)]
    # No more stages than steps.
    edges = [config.edge, *(edge for edge in edges[1:] if edge >= SMALLEST_EDGE)][: config.steps]
    smaller = len(edges) - 1
    share = 1 / len(edges) if options.last is None or not smaller else (1 - options.last) / smaller
    smallest = share
    if options.first is not None and smaller > 1:
        smallest = options.first * share * smaller
        share = (share * smaller - smallest) / (smaller - 1)
    found, first = [], 0
    for number, edge in enumerate(reversed(edges), 1):
        # Every stage, and each of those that follow, has at least one step.
        done = _rounded(config.steps * share * number + config.steps * (smallest - share))
        last = min(max(number, done), config.steps - len(edges) + number)
        last = config.steps if number == len(edges) else last
        found.append(Stage(edge, first, last))
        first = last
    return found[:-1] + _turns(found[-1], config.canvas.turns)


def _rounded(steps: float) -> int:
    """Round half up, with a tolerance: the `schedule.last` of a continued run gives halves up to float rounding."""
    return math.floor(steps + 0.5 + 1e-6)


def _turns(stage: Stage, count: int) -> list[Stage]:
    """Split a stage into one per camera set, with nearly equal shares of its steps and at least one step each."""
    steps = stage.last - stage.first
    count = min(count, steps)
    bounds = [stage.first + round(steps * number / count) for number in range(count + 1)]
    return [
        Stage(stage.edge, first, last, turn, first - stage.first)
        for turn, (first, last) in enumerate(itertools.pairwise(bounds))
    ]


def halvings(config: RunConfig, edge: int) -> int:
    """Return how many times an image with this long side, px, is halved for the losses of `schedule=simultaneous`."""
    found = 0
    if config.schedule.name == "simultaneous":
        while edge // 2 >= config.schedule.smallest:
            found, edge = found + 1, edge // 2
    return found


def last_share(config: RunConfig, steps: int) -> float | None:
    """Return the `schedule.last` with which a run of more steps gives the smaller sizes as many as now."""
    smaller = sum(not stage.turn for stage in stages(config)) - 1
    if steps <= config.steps or not smaller:
        return config.schedule.last
    last = 1 / (smaller + 1) if config.schedule.last is None else config.schedule.last
    return 1 - (1 - last) * config.steps / steps


def capture_steps(captures: Sequence[Any], steps: int) -> list[int]:
    """Return the steps at which the picture is captured, ascending; the last step is always one of them.

    A whole number is a step (0 is the starting image), a number with a decimal point a fraction of `steps`.

    Raises:
        InputError: out of range, or not a number.
    """
    found = {steps}
    for value in captures:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"captures: {value!r} is not a number; give fractions (0.33) or step numbers (100)")
        if isinstance(value, float):
            if not 0 <= value <= 1:
                raise InputError(
                    f"captures: the fraction {value} is not in [0, 1]; write a step number without a point"
                )
            found.add(round(value * steps))
        elif 0 <= value <= steps:
            found.add(value)
        else:
            raise InputError(f"captures: step {value} is not in 0..{steps} (steps={steps})")
    return sorted(found)


@dataclass(frozen=True)
class Timetable:
    """The steps of a run and its pauses.

    Attributes:
        steps: optimiser steps of the whole run.
        captures: steps at which the picture is captured, ascending; the last is `steps`.
        log_every: steps between logged points.
        checkpoint_every: steps between checkpoints.
        preview_every: steps between previews; 0: none.
        chunk: steps between two tests of the loss; reading it synchronises a GPU with the host.
    """

    steps: int
    captures: tuple[int, ...]
    log_every: int
    checkpoint_every: int
    preview_every: int = 0
    chunk: int = 1

    def next_pause(self, step: int) -> int:
        """Return the first step after `step` at which the loop pauses."""
        pauses = [self.steps, *(after for after in self.captures if after > step)]
        every = (self.chunk, self.log_every, self.checkpoint_every, self.preview_every)
        pauses += [(step // each + 1) * each for each in every if each]
        return min(pauses)

    def tests_at(self, step: int) -> bool:
        """Return whether the loss at `step` is tested for jumps and for the loss to stop at."""
        return step % self.chunk == 0

    def logs_at(self, step: int) -> bool:
        """Return whether metrics are logged at `step`."""
        return step % self.log_every == 0

    def saves_at(self, step: int) -> bool:
        """Return whether a checkpoint is written at `step`."""
        return step % self.checkpoint_every == 0 or step == self.steps

    def previews_at(self, step: int) -> bool:
        """Return whether a preview is written at `step`."""
        return self.preview_every > 0 and step % self.preview_every == 0
