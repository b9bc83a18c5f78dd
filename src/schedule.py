"""When things happen: the steps at which the loop must pause."""

from dataclasses import dataclass


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
