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

from src.common import platform as hardware
from src.config.schedule import Stage, Timetable
from src.config.schema import Optimizer as OptimizerOptions
from src.tracking import names as keys
from src.tracking.csv_logger import Tracker
from src.training import counters, metrics
from src.transfer.canvas import Canvas
from src.transfer.compilation import Evaluate
from src.transfer.objective import Objective, Terms
from src.transfer.optimizers import Memory, build_optimizer, resize_moments, set_rate, walled


class Halt(Exception):
    """Leaves the optimiser before it changes anything: raised by the first evaluation of a step."""


class StyleTransferModule(LightningModule):
    """Moves a canvas downhill on an objective: one stage of a run.

    Steps are counted over all stages. One `training_step` takes all up to the timetable's next pause, under manual
    optimisation. The loss of step s is that of the image after s updates, seen by the first evaluation of step s + 1.
    Network and targets are not registered: they are no parameters, and no checkpoint holds them.

    Args:
        canvas: the image, (1, 3, H, W); several, (B, 3, H, W), are `batch.module`'s.
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
        self.seconds_before = 0.0
        self._begun = time.perf_counter()
        self.latest: dict[str, float] = {}
        self.latest_step = 0
        self.non_finite_at: int | None = None
        self.reached = False
        self._memory: Memory[Terms] = Memory(canvas.parameters())
        self._last_finite: tuple[int, dict[str, Tensor]] | None = None
        self._moments: dict[str, Any] | None = None
        self.logged_step = -1

    objective: Objective
    evaluate: Evaluate

    def take_over(self, before: "StyleTransferModule", carry: bool = False) -> None:
        """Go on counting where the stage before stopped, and with its optimiser's moments where asked for."""
        self.throughput = before.throughput
        self.throughput.warmed = 0
        self.evaluations = before.evaluations
        self.initial_loss = before.initial_loss
        self.seconds_before = before.seconds
        self._moments = before.optimizers().state_dict() if carry else None  # type: ignore[union-attr]

    @property
    def step(self) -> int:
        """Return the optimiser steps taken, those of earlier stages included."""
        return self.stage.first + self.global_step

    def configure_optimizers(self) -> Optimizer:
        """Return the optimiser over the canvas alone."""
        optimizer = build_optimizer(self.options, self.canvas.parameters())
        if self._moments is not None:
            resize_moments(optimizer, self._moments)
        return optimizer

    def on_train_start(self) -> None:
        """Start the clock."""
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Return the wall time of the loop, s, that of earlier processes of the run included."""
        return self.seconds_before + time.perf_counter() - self._begun

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Take the steps up to the next pause; the batch is a mere tick of the loop."""
        optimizer, start = self.optimizers(), self.step
        begun, evaluated = hardware.now(self.device), self.evaluations
        try:
            for step in range(start, min(self.timetable.next_pause(start), self.stage.last)):
                # what is known at the start of a stage was looked up at this very image, by its capture
                if step % self.objective.loss.rematch == 0 and step > self.stage.first:
                    self.forget_matches()
                set_rate(self.options, optimizer.param_groups, step, self.timetable.steps, self.stage.first)  # type: ignore[union-attr]
                optimizer.step(partial(self.guard, self.closure(look_first=step == start)))  # type: ignore[union-attr]
                self.canvas.after_update()
                if self.stop_requested():
                    self.trainer.should_stop = True
                    break
        except Halt:
            self.halt()
        self.count(self.evaluations - evaluated, hardware.now(self.device) - begun)

    def count(self, evaluations: int, seconds: float) -> None:
        """Add what was evaluated between two pauses to the throughput."""
        height, width = self.canvas.size
        self.throughput.add(evaluations, seconds, height * width / 1e6)

    def forget_matches(self) -> None:
        """Look the nearest patches up again: the loss is about to be another function of the image."""
        self.objective.forget_matches()
        self._memory.forget()

    def halt(self) -> None:
        """End the run here: its loss was reached, or is not finite."""
        self.trainer.should_stop = True

    def closure(self, look_first: bool) -> Callable[[], Tensor]:
        """Return what an optimiser evaluates; where asked for, its first evaluation is looked at."""
        first = look_first

        @torch.enable_grad()
        def evaluate() -> Tensor:
            nonlocal first
            if (known := self._memory.recall()) is None:
                self.canvas.zero_grad()
            terms = known[1] if known else self.evaluate(self.canvas.normalized())
            if first:
                first = False
                self.look(terms)
            if known:
                return known[0]
            loss = terms.total.sum() * self._scale
            self.manual_backward(loss)
            self.evaluations += 1
            if self.options.name == "lbfgs":
                loss = walled(loss, self.canvas.parameters())
                self._memory.keep(loss, terms)
            return loss

        return evaluate

    @property
    def _scale(self) -> float:
        # torch's guard on curvature is absolute (1e-10), and turns down every pair of a loss that is small in its units
        initial = self.initial_loss
        scaled = self.options.name == "lbfgs" and initial and math.isfinite(initial)
        return 1 / initial if initial and scaled else 1.0

    def look(self, terms: Terms) -> None:
        """Take note of the terms of the present step; raises as `note` does."""
        self.note(metrics.terms_to_metrics(terms)[0])

    def note(self, values: dict[str, float]) -> None:
        """Take note of the values of the present step; `Halt` where the run ends here."""
        self.latest, self.latest_step = values, self.step
        if self.initial_loss is None:
            self.initial_loss = self.latest[keys.TOTAL]
        if not self.keep_if_finite(self.latest[keys.TOTAL]):
            raise Halt
        if self.stop_at_loss is not None and self.latest[keys.TOTAL] <= self.stop_at_loss:
            self.reached = True
            raise Halt
        if self.timetable.logs_at(self.step):
            self.log_point(self.latest)

    def keep_if_finite(self, loss: float) -> bool:
        """Remember the canvas where its loss is finite; otherwise put back the one that was remembered last."""
        if math.isfinite(loss):
            if self.non_finite_at is None:  # else it is the capture of what was put back, of the step it was kept at
                kept = {name: value.clone() for name, value in self.canvas.state_dict().items()}
                self._last_finite = (self.step, kept)
            return True
        self.non_finite_at = self.step
        if self._last_finite is not None:
            self.canvas.load_state_dict(self._last_finite[1])
        return False

    def shown(self) -> tuple[int, str]:
        """Return the step of the latest loss, and a line about it for people."""
        words = [f"loss {self.latest[keys.TOTAL]:.4g}"] if self.latest else []
        return self.latest_step, ", ".join([*words, f"{self.throughput.it_per_s:.2f} it/s"])

    @property
    def image_step(self) -> int:
        """Return how many updates the canvas has seen: fewer than were taken where a non-finite one was undone."""
        if self.non_finite_at is not None and self._last_finite is not None:
            return self._last_finite[0]
        return self.step

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return all terms of the picture as it is, those of weight zero too."""
        terms = self.guard(lambda: self.objective(self.canvas.normalized_picture(), full=True))
        return metrics.terms_to_metrics(terms)[0]

    def log_point(self, values: dict[str, float], picture: Path | None = None) -> None:
        """Send the values of the present step, with throughput and a picture, to every tracker: once a step."""
        step = self.step
        if step <= self.logged_step:
            return
        self.logged_step = step
        point = counters.point(self, values)
        for tracker in self.trackers:
            tracker.log_point(point, step, picture)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the counters that a resumed run goes on with."""
        checkpoint["matches"] = self.objective.matches
        # what is remembered is lost with the process, and evaluated again
        checkpoint["counters"] = counters.saved(self, forgotten=int(self._memory.recall() is not None))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the counters up again."""
        self.objective.forget_matches(checkpoint["matches"])
        counters.restore(self, checkpoint["counters"])
