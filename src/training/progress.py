"""Progress of a run: a bar on a terminal, a log line now and then elsewhere."""

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
    """Shows the step, the time left and a status text.

    Args:
        steps: of the whole run.
        first: the step that a resumed run starts from.
        status: returns the latest step and the text to show with it.
        bar: show a bar; None does so on a terminal.
        unit: what is counted.
    """

    def __init__(
        self,
        steps: int,
        first: int,
        status: Callable[[], tuple[int, str]],
        bar: bool | None = None,
        unit: str = "step",
    ) -> None:
        self.steps = steps
        self.first = first
        self.status = status
        self.unit = unit
        self.wanted = sys.stderr.isatty() if bar is None else bar
        self.bar: tqdm | None = None
        self.started = self.last_line = time.perf_counter()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Open the bar, once for all stages."""
        if self.bar is None and self.wanted:
            self.bar = tqdm(
                total=self.steps,
                initial=self.first,
                dynamic_ncols=True,
                leave=False,
                unit=self.unit,
                bar_format="{l_bar}{bar}| {unit} {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            )

    def on_train_batch_end(self, *_: Any) -> None:
        """Update the bar, or log a line."""
        step, text = self.status()
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(step - self.bar.n)
        elif time.perf_counter() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = time.perf_counter()
            left = (self.last_line - self.started) / max(step - self.first, 1) * (self.steps - step)
            log.info("%s %d of %d, %s, %s left", self.unit, step, self.steps, text, tqdm.format_interval(left))

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
