"""The optimisation as a LightningModule: its only learnable parameter is the image."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from src import metrics
from src.canvas import Canvas
from src.compiling import Evaluate
from src.config import Optimizer as OptimizerOptions
from src.history import Tracker
from src.objective import Objective, Terms
from src.optimizers import Memory, build_optimizer, set_rate
from src.schedule import Stage, Timetable


class _Halt(Exception):
    """Leaves the optimiser before it changes anything: raised by the first evaluation of a step."""


class StyleTransferModule(LightningModule):
    """Moves a canvas downhill on an objective: one stage of a run. Steps are counted over all stages.

    One `training_step` takes all optimiser steps up to the timetable's next pause, under manual optimisation. The
    loss that belongs to step s is that of the image after s updates: it is what the first evaluation of step s + 1
    sees, and it is logged under s.

    The network and the targets stay outside module registration: they are no parameters, and no checkpoint holds them.

    Args:
        canvas: the image, (1, 3, H, W).
        objective: gives the loss of a canvas.
        options: the optimiser.
        timetable: steps and pauses of the whole run.
        stage: the steps to be taken here.
        stop_at_loss: halt when the total loss is at or below this, in the last stage.
        trackers: receive the points, opened.
        evaluate: the objective in a faster form, for the steps.
        stop_requested: asked after every step; True ends the run there (a signal arrived).
        guard: calls what evaluates, and again where memory ran out and less of it will do.
    """

    def __init__(
        self,
        canvas: Canvas,
        objective: Objective,
        options: OptimizerOptions,
        timetable: Timetable,
        stage: Stage,
        stop_at_loss: float | None = None,
        trackers: Sequence[Tracker] = (),
        evaluate: Evaluate | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
        guard: Callable[[Callable[[], Any]], Any] = lambda attempt: attempt(),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.canvas = canvas
        self.__dict__["objective"] = objective
        self.__dict__["evaluate"] = evaluate or objective
        self.options = options
        self.timetable = timetable
        self.stage = stage
        self.stop_at_loss = stop_at_loss if stage.last == timetable.steps else None
        self.trackers = trackers
        self.stop_requested = stop_requested
        self.guard = guard
        self.throughput = metrics.Throughput()
        self.evaluations = 0
        self.initial_loss: float | None = None
        self._seconds_before = 0.0
        self._begun = time.perf_counter()
        self.latest: dict[str, float] = {}
        self.latest_step = 0
        self.non_finite_at: int | None = None
        self.reached = False
        self._memory: Memory[Terms] = Memory(canvas.parameters())
        self._last_finite: tuple[int, dict[str, Tensor]] | None = None
        self.logged_step = -1

    objective: Objective
    evaluate: Evaluate

    def take_over(self, before: "StyleTransferModule") -> None:
        """Go on counting where the stage before stopped."""
        self.throughput = before.throughput
        self.throughput.warmed = 0
        self.evaluations = before.evaluations
        self.initial_loss = before.initial_loss
        self._seconds_before = before.seconds

    @property
    def step(self) -> int:
        """Return the optimiser steps taken, those of earlier stages included."""
        return self.stage.first + self.global_step

    def configure_optimizers(self) -> Optimizer:
        """Return the optimiser over the canvas alone. A stage does not go on with the moments of the one before,
        resized: at six scalings that was slower than to begin anew.
        """
        return build_optimizer(self.options, self.canvas.parameters())

    def on_train_start(self) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Return the wall time of the loop, s, that of earlier processes of the run included."""
        return self._seconds_before + time.perf_counter() - self._begun

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Take the steps up to the next pause; the batch is a mere tick of the loop."""
        optimizer = self.optimizers()
        start = self.step
        begun, evaluated = metrics.now(self.device), self.evaluations
        try:
            for step in range(start, min(self.timetable.next_pause(start), self.stage.last)):
                if step % self.objective.loss.rematch == 0:
                    self.objective.forget_matches()
                    self._memory.forget()
                set_rate(self.options, optimizer.param_groups, step, self.timetable.steps, self.stage.first)  # type: ignore[union-attr]
                optimizer.step(partial(self.guard, self._closure(look_first=step == start)))  # type: ignore[union-attr]
                self.canvas.project()
                if self.stop_requested():
                    self.trainer.should_stop = True
                    break
        except _Halt:
            self.trainer.should_stop = True
        height, width = self.canvas.size
        self.throughput.add(self.evaluations - evaluated, metrics.now(self.device) - begun, height * width / 1e6)

    def _closure(self, look_first: bool) -> Callable[[], Tensor]:
        first = look_first

        @torch.enable_grad()
        def evaluate() -> Tensor:
            nonlocal first
            known = self._memory.recall()
            if known is None:
                self.canvas.zero_grad()
            terms = known[1] if known else self.evaluate(self.canvas.normalized())
            if first:
                first = False
                self._look(terms)
            if known:
                return known[0]
            loss = terms.total.sum() * self._scale
            self.manual_backward(loss)
            self.evaluations += 1
            if self.options.name == "lbfgs":
                self._memory.keep(loss, terms)
            return loss

        return evaluate

    @property
    def _scale(self) -> float:
        """Return what L-BFGS sees the loss multiplied by: torch's guard on curvature is absolute (1e-10), and turns
        down every pair of a loss that is small in its units. Adam is indifferent to scale.
        """
        initial = self.initial_loss
        if self.options.name != "lbfgs" or not initial or not math.isfinite(initial):
            return 1.0
        return 1 / initial

    def _look(self, terms: Terms) -> None:
        step = self.step
        self.latest, self.latest_step = metrics.terms_to_metrics(terms), step
        if self.initial_loss is None:
            self.initial_loss = self.latest[metrics.TOTAL]
        if not self.keep_if_finite(self.latest[metrics.TOTAL]):
            raise _Halt
        if self.stop_at_loss is not None and self.latest[metrics.TOTAL] <= self.stop_at_loss:
            self.reached = True
            raise _Halt
        if self.timetable.logs_at(step):
            self.log_point(self.latest)

    def keep_if_finite(self, loss: float) -> bool:
        """Remember the canvas where its loss is finite; otherwise put back the one that was remembered last."""
        if math.isfinite(loss):
            self._last_finite = (self.step, {name: value.clone() for name, value in self.canvas.state_dict().items()})
            return True
        self.non_finite_at = self.step
        if self._last_finite is not None:
            self.canvas.load_state_dict(self._last_finite[1])
        return False

    def shown(self) -> tuple[int, str]:
        """Return the step of the latest loss, and a line about it for people."""
        loss = self.latest.get(metrics.TOTAL)
        words = [f"loss {loss:.4g}"] if loss is not None else []
        return self.latest_step, ", ".join([*words, f"{self.throughput.it_per_s:.2f} it/s"])

    @property
    def image_step(self) -> int:
        """Return how many updates the canvas has seen: fewer than were taken where a non-finite one was undone."""
        if self.non_finite_at is not None and self._last_finite is not None:
            return self._last_finite[0]
        return self.step

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return all terms of the canvas as it is, those of weight zero too."""
        return metrics.terms_to_metrics(self.guard(lambda: self.objective(self.canvas.normalized(), full=True)))

    def log_point(self, values: dict[str, float], picture: Path | None = None) -> None:
        """Send the values of the present step, with throughput and a picture, to every tracker: once a step."""
        step = self.step
        if step <= self.logged_step:
            return
        self.logged_step = step
        point = {
            **values,
            metrics.EVALUATIONS: self.evaluations,
            metrics.IT_PER_S: self.throughput.it_per_s,
            metrics.MPX_IT_PER_S: self.throughput.mpx_it_per_s,
            metrics.PEAK_MIB: metrics.peak_mib(self.device),
        }
        for tracker in self.trackers:
            tracker.log_point(point, step, picture)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the counters that a resumed run goes on with."""
        checkpoint["matches"] = self.objective.matches
        checkpoint["counters"] = {
            "step": self.step,
            # what is remembered is lost with the process, and evaluated again
            "evaluations": self.evaluations - (self._memory.recall() is not None),
            "initial_loss": self.initial_loss,
            "seconds": self.seconds,
            "throughput": {key: value for key, value in vars(self.throughput).items() if key != "warmed"},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the counters up again."""
        self.objective.forget_matches(checkpoint["matches"])
        counters = checkpoint["counters"]
        self.evaluations = counters["evaluations"]
        self.initial_loss = counters["initial_loss"]
        self._seconds_before = counters["seconds"]
        self.throughput = metrics.Throughput(**counters["throughput"])
