"""What a person sees while a run goes on: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0


class Progress(Callback):
    """Step, time left, and what the module has to say.

    Args:
        steps: in all.
        first: the step that a resumed training goes on from.
        now: returns the step that was taken last and what is to be shown with it.
    """

    def __init__(self, steps: int, first: int, now: Callable[[], tuple[int, str]]) -> None:
        self.steps = steps
        self.now = now
        self.bar: tqdm | None = None
        self.last_line = time.perf_counter()
        self.first = (time.perf_counter(), first)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Open the bar, once for all stages."""
        if self.bar is None and sys.stderr.isatty():
            self.bar = tqdm(
                total=self.steps,
                initial=self.first[1],
                dynamic_ncols=True,
                leave=False,
                bar_format="{l_bar}{bar}| step {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            )

    def on_train_batch_end(self, *_: Any) -> None:
        """Show where the run is."""
        step, shown = self.now()
        if self.bar is not None:
            self.bar.set_postfix_str(shown, refresh=False)
            self.bar.update(step - self.bar.n)
        elif time.perf_counter() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = time.perf_counter()
            elapsed, done = self.last_line - self.first[0], step - self.first[1]
            left = elapsed / max(done, 1) * (self.steps - step)
            log.info("step %d of %d, %s, %s left", step, self.steps, shown, tqdm.format_interval(left))

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
