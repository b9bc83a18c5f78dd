"""What a person sees while a run goes on: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from typing import Any

from pytorch_lightning import Callback, Trainer
from tqdm import tqdm

from src import metrics
from src.module import StyleTransferModule

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0


class Progress(Callback):
    """Step, loss, evaluations per second, time left."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.last_line = time.perf_counter()
        self.first = (time.perf_counter(), 0)

    def on_train_start(self, trainer: Trainer, module: StyleTransferModule) -> None:  # type: ignore[override]
        """Open the bar, at the step where the run goes on."""
        self.first = (time.perf_counter(), module.global_step)
        if sys.stderr.isatty():
            steps = module.timetable.steps
            self.bar = tqdm(
                total=steps,
                initial=module.global_step,
                dynamic_ncols=True,
                leave=False,
                bar_format="{l_bar}{bar}| step {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
            )

    def on_train_batch_end(self, trainer: Trainer, module: StyleTransferModule, *_: Any) -> None:  # type: ignore[override]
        """Show where the run is."""
        step = module.latest_step  # the one that the loss belongs to
        loss = module.latest.get(metrics.TOTAL)
        shown = f"loss {loss:.4g}" if loss is not None else ""
        if self.bar is not None:
            self.bar.set_postfix_str(f"{shown}, {module.throughput.it_per_s:.2f} it/s", refresh=False)
            self.bar.update(step - self.bar.n)
        elif time.perf_counter() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = time.perf_counter()
            elapsed, done = self.last_line - self.first[0], step - self.first[1]
            left = elapsed / max(done, 1) * (module.timetable.steps - step)
            log.info(
                "step %d of %d, %s, %.2f it/s, %s left",
                step,
                module.timetable.steps,
                shown,
                module.throughput.it_per_s,
                tqdm.format_interval(left),
            )

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
