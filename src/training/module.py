"""The optimisation as a LightningModule: its only learnable parameters are those of the image."""

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from src.common import platform
from src.common.errors import first_line
from src.config.schedule import Stage, Timetable
from src.config.schema import Optimizer as OptimizerOptions
from src.tracking import names
from src.training.memory import empty_cache, out_of_memory, peak_mib, retry_smaller
from src.training.pair import Counters, Pair
from src.transfer.compilation import Evaluate
from src.transfer.image_models.base import ImageModel
from src.transfer.objective import Losses, Objective
from src.transfer.optimizers import (
    CachedEvaluation,
    backtrack_on_non_finite,
    build_optimizer,
    resize_moments,
    set_learning_rate,
)

log = logging.getLogger(__name__)

JUMP = 1.5  # a loss of more than this many times the one before it is reported
MOST_HALVINGS = 4  # of one update


class Halt(Exception):
    """Abort a step before the parameters are updated, because a pair ended at its first evaluation."""


class StyleTransferModule(LightningModule):
    """Optimises a batch of images, each sample on the objective of its own pair: one stage of a run or batch of runs.

    Steps are counted over all stages. One `training_step` takes the optimiser steps up to the timetable's next pause,
    under manual optimisation. The loss logged at step s is that of the image after s updates; it comes from the first
    evaluation of step s + 1. Samples do not influence one another: each gradient is that of the sample's own loss, and
    Adam moves each value by its own gradient. The encoder and the targets are not registered, so checkpoints hold the
    image and the optimiser alone.

    Args:
        image: the images, B samples.
        pairs: one per sample, with their objectives set.
        options: the optimiser; L-BFGS takes one sample.
        timetable: steps and pauses of the whole run.
        stage: the steps to take here.
        rematch: steps between searches of terms that search; see `Term.search`.
        jump: Adam's updates after which the loss is more than this many times as high are halved; 0 halves none.
        at_once: samples evaluated together; None is all. Halved where memory runs out.
        compiler: turns an objective into a faster form; None evaluates eagerly.
        not_compiled: called with the reason where the faster form is given up.
        stop_requested: asked after every step; True ends the loop (a signal arrived).
        step_down: reduces the memory of an evaluation after an out-of-memory error; False where it cannot.

    Attributes:
        restored: Lightning has restored the checkpoint, or there was none to restore.
    """

    def __init__(
        self,
        image: ImageModel,
        pairs: Sequence[Pair],
        options: OptimizerOptions,
        timetable: Timetable,
        stage: Stage,
        rematch: int = 20,
        jump: float = 0.0,
        at_once: int | None = None,
        compiler: Callable[[Objective], Evaluate] | None = None,
        not_compiled: Callable[[str], None] = lambda reason: None,
        stop_requested: Callable[[], bool] = lambda: False,
        step_down: Callable[[BaseException], bool] = lambda error: False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.image = image
        self.pairs = list(pairs)
        self.options, self.timetable, self.stage = options, timetable, stage
        self.rematch, self.jump = rematch, jump
        self.at_once = at_once or len(self.pairs)
        self.compiler, self.not_compiled = compiler, not_compiled
        self.stop_requested, self.step_down = stop_requested, step_down
        self._cached: CachedEvaluation[list[Losses]] = CachedEvaluation(image.parameters())
        self._moments: dict[str, Any] | None = None
        # Adam keeps its moments when cameras change, and needs no second warm-up; L-BFGS starts anew.
        self._begun = stage.first - (stage.earlier if options.name == "adam" else 0)
        self._paused = 0.0
        self._evaluations = 0
        self._ended: set[Pair] = set()
        self._resumed_step: int | None = None
        self.restored = False
        for pair in self.pairs:  # images of the previous stage have a different size
            pair.last_finite = pair.judged = None
        self._join_objectives()

    # Outside of module registration: neither the encoder nor the targets are parameters.
    objectives: list[Objective]
    evaluates: Sequence[Evaluate]

    def _join_objectives(self) -> None:
        chunks = [self.pairs[first : first + self.at_once] for first in range(0, len(self.pairs), self.at_once)]
        joined = [chunk[0].objective.join([pair.objective for pair in chunk]) for chunk in chunks]
        self.objectives = joined
        self.evaluates = [self.compiler(each) for each in joined] if self.compiler else joined

    @property
    def step(self) -> int:
        """Return the optimiser steps taken, earlier stages included."""
        return self.stage.first + self.global_step

    @property
    def _tested(self) -> bool:
        """Return whether the loss is tested at this step.

        Pauses that are only for logging, captures or checkpoints test nothing, so their number does not change the
        result.
        """
        return self.timetable.tests_at(self.step) or self.step == self.stage.first

    @property
    def active(self) -> dict[int, Pair]:
        """Return the pairs that go on, by sample."""
        return {sample: pair for sample, pair in enumerate(self.pairs) if pair not in self._ended}

    def configure_optimizers(self) -> Optimizer:
        """Return the optimiser over the image's parameters."""
        optimizer = build_optimizer(self.options, self.image.parameters())
        if self._moments is not None:
            resize_moments(optimizer, self._moments)
        return optimizer

    def carry_moments(self, before: "StyleTransferModule") -> None:
        """Start with Adam's moments of the previous stage, resized."""
        self._moments = before.optimizers().state_dict()  # type: ignore[union-attr]

    def on_train_start(self) -> None:
        """Start the clocks of the pairs.

        Raises:
            ValueError: Lightning's counters of a checkpoint disagree with its step.
        """
        if self._resumed_step not in (None, self.step):
            raise ValueError(f"its loops stand at step {self.step}, not {self._resumed_step}")
        self.restored = True
        for pair in self.pairs:
            pair.started = time.perf_counter()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Take the optimiser steps up to the next pause; `batch` is not used."""
        optimizer, start = self.optimizers(), self.step
        begun, evaluated, self._paused = platform.now(self.device), self._evaluations, 0.0
        try:
            for step in range(start, min(self.timetable.next_pause(start), self.stage.last)):
                if self._search_due(step):
                    self._search_again(step)
                groups = optimizer.param_groups  # type: ignore[union-attr]
                set_learning_rate(self.options, groups, step, self.timetable.steps, self._begun)
                optimizer.step(self._closure(observed=step == start))  # type: ignore[union-attr]
                self.image.after_update()
                if self.stop_requested():
                    self.trainer.should_stop = True
                    break
        except Halt:
            pass  # the callback that captures and ends pairs takes over
        seconds = platform.now(self.device) - begun - self._paused
        height, width = self.image.size
        for pair in self.active.values():
            pair.counters.throughput.add(self._evaluations - evaluated, seconds, height * width / 1e6)

    def _search_due(self, step: int) -> bool:
        # The search at the start of a stage is made by its first evaluation.
        return step % self.rematch == 0 and step > self.stage.first and bool(self.objectives[0].search_state())

    def _search_again(self, step: int) -> None:
        """Search anew at the next evaluation: the loss becomes another function of the image."""
        for objective in self.objectives:
            objective.search_again(step)
        self._cached.clear()
        for pair in self.pairs:
            pair.judged = None  # its loss is of the earlier objective: the difference is no jump
        if self.options.name == "lbfgs":
            # A curvature pair must not mix gradients of two objectives.
            self.optimizers().optimizer.state.clear()  # type: ignore[union-attr]
            self._begun = step

    def _closure(self, observed: bool) -> Callable[[], Tensor]:
        """Return what the optimiser evaluates; `observed`: the pairs take note of its first evaluation."""

        @torch.enable_grad()
        def evaluate() -> Tensor:
            nonlocal observed
            known = self._cached.load()
            losses = known[1] if known else self._evaluate()
            if observed:
                observed = False
                losses = self._halve_jumps(losses)
                self._observe(losses)
            if known:
                return known[0]
            self._evaluations += 1
            for pair in self.active.values():
                pair.counters.evaluations += 1
            loss = torch.stack([each.total.detach().sum() for each in losses]).sum() * self._scale(losses)
            if self.options.name == "lbfgs":
                loss = backtrack_on_non_finite(loss, self.image.parameters())
                self._cached.store(loss, losses)
            return loss

        return evaluate

    def _halve_jumps(self, losses: list[Losses]) -> list[Losses]:
        """Halve the last update of samples whose loss became more than `jump` times as high; return the new losses.

        Adam's step size does not depend on the gradient's magnitude. Where channels of a deep layer are inactive in the
        content and strong in the style, the loss of their covariance is quartic in the activations: nearly flat, then
        very steep. On a GPU, all updates since the loss was last tested are halved together.
        """
        if self.options.name != "adam" or self.step == self.stage.first or not self._tested:
            return losses
        for attempt in range(MOST_HALVINGS + 1):
            totals, changed = torch.cat([each.total.detach() for each in losses]).tolist(), False
            for sample, pair in self.active.items():
                if not pair.judged or not 0 < (self.jump or JUMP) * pair.judged[0] < totals[sample] < math.inf:
                    continue
                if not self.jump or attempt == MOST_HALVINGS:
                    pair.counters.jumped = pair.counters.jumped or (self.step, pair.judged[0], totals[sample])
                    continue
                here = self.image.sample_state(sample)
                halved = {name: (value.to(here[name]) + here[name]) / 2 for name, value in pair.judged[1].items()}
                self.image.load_sample_state(sample, halved)
                pair.counters.evaluations += 1
                changed = True
            if not changed:
                break
            self._evaluations += 1
            losses = self._evaluate()
        return losses

    def _evaluate(self) -> list[Losses]:
        """Return the losses of all samples, chunk by chunk, and leave the gradient with the parameters.

        A compiled form that fails is given up, also where memory has run out: of several chunks that are replayed as
        CUDA graphs, each would overwrite the results of the one before.
        """
        while True:
            self.image.zero_grad()
            try:
                return self._forward_backward()
            except Exception as error:  # compilers raise any type
                scarce = out_of_memory(error)
                if not self.compiler and (not scarce or (self.at_once == 1 and not self.step_down(error))):
                    raise
                reason = "memory has run out" if scarce else first_line(error)
            # Outside of the handler: the error's traceback holds the memory that is to be freed.
            if self.compiler:
                self.compiler, self.evaluates = None, self.objectives
                torch.compiler.reset()  # the memory of CUDA graphs too
                empty_cache(self.device)
                self.not_compiled(reason)
                continue
            self._split_searches()  # while `at_once` is that of the joined objectives
            if self.at_once > 1:
                self.at_once = -(-self.at_once // 2)
                log.warning("out of memory; evaluating %d pairs at once from here on", self.at_once)
            self._join_objectives()
            empty_cache(self.device)

    def _forward_backward(self) -> list[Losses]:
        image = self.image.render()
        leaves = [each.detach().requires_grad_() for each in image.split(self.at_once)]
        found = []
        for leaf, evaluate in zip(leaves, self.evaluates, strict=True):
            losses = evaluate(leaf)
            (losses.total.sum() * self._scale([losses])).backward()
            found.append(losses)
        image.backward(torch.cat([leaf.grad for leaf in leaves if leaf.grad is not None]))
        return found

    def _scale(self, losses: Sequence[Losses]) -> float:
        """Return the factor that makes L-BFGS's loss begin at 1: torch's test of curvature is absolute (1e-10)."""
        if self.options.name != "lbfgs":
            return 1.0
        initial = self.pairs[0].counters.initial_loss
        initial = losses[0].total.detach().item() if initial is None else initial
        return 1 / initial if initial and math.isfinite(initial) else 1.0

    def _observe(self, losses: Sequence[Losses]) -> None:
        """Let every pair take note of its losses; raise `Halt` where one ends.

        The time of logging is not part of the throughput.
        """
        begun = platform.now(self.device)
        rows = [row for each in losses for row in each.metrics()]
        halted, tested = False, self._tested
        for sample, pair in self.active.items():
            try:
                if pair.observe(rows[sample], self.step, tested and self.stage.last == self.timetable.steps):
                    halted = True
                finite = self.keep_if_finite(sample, rows[sample][names.TOTAL])
                if tested and finite and pair.last_finite and self.options.name == "adam":
                    pair.judged = rows[sample][names.TOTAL], pair.last_finite[1]
                if finite and not pair.reached and self.timetable.logs_at(self.step):
                    pair.log_point(pair.latest, self.step, peak_mib(self.device))
            except Exception as error:  # of its own loggers or disk: the other pairs go on
                pair.error = error
                halted = True
        self._paused += platform.now(self.device) - begun
        if halted:
            raise Halt

    def keep_if_finite(self, sample: int, loss: float) -> bool:
        """Remember a sample whose loss is finite; otherwise put back the one that was remembered last."""
        pair = self.pairs[sample]
        if math.isfinite(loss):
            if pair.non_finite_at is None:
                pair.last_finite = self.step, self.image.sample_state(sample)
            return True
        pair.non_finite_at = self.step
        if pair.last_finite is not None:
            self.image.load_sample_state(sample, pair.last_finite[1])
        return False

    @torch.no_grad()
    def measure(self, sample: int) -> dict[str, float]:
        """Return all terms of a sample's picture by metric name, those of weight zero included.

        Terms that search do so for this very picture, so the values depend on nothing else; the searches that the
        optimisation goes on with are kept.
        """
        objective = self.pairs[sample].objective
        state = self.search_state(sample)

        def attempt() -> dict[str, float]:
            objective.load_search_state()
            return objective(self.image.shown(self.image.picture()[sample : sample + 1]), full=True).metrics()[0]

        values = retry_smaller(attempt, self.step_down, self.device)
        objective.load_search_state(state)
        return values

    def search_state(self, sample: int) -> dict[str, dict[str, Tensor]]:
        """Return the search results of one sample, (1, ...) each, by term and tap."""
        place = sample % self.at_once
        state = self.objectives[sample // self.at_once].search_state()
        return {name: {tap: each[place : place + 1] for tap, each in taps.items()} for name, taps in state.items()}

    def _split_searches(self) -> None:
        """Give every pair's objective its part of the search results, before the objectives are joined anew."""
        states = [self.search_state(sample) for sample in range(len(self.pairs))]
        for pair, state in zip(self.pairs, states, strict=True):
            pair.objective.load_search_state(state)

    def drop(self, ended: Collection[Pair]) -> None:
        """Take pairs out of the batch.

        A compiled batch is compiled for its size, and keeps computing ended samples until half of them have ended.
        """
        self._ended |= set(ended)
        kept = self.active
        if not kept or len(kept) == len(self.pairs) or (self.compiler and 2 * len(kept) > len(self.pairs)):
            return
        at_once = self.at_once
        self._split_searches()
        self.image.keep_samples(list(kept), self.optimizers().optimizer.state)  # type: ignore[union-attr]
        self.pairs = list(kept.values())
        self.at_once = min(at_once, len(self.pairs))
        self._join_objectives()

    def status(self) -> tuple[int, str]:
        """Return the step of the latest losses and a line about them, with the size, for the progress display."""
        pairs = list(self.active.values())
        losses = sorted(pair.latest[names.TOTAL] for pair in pairs if pair.latest)
        step = max((pair.latest_step for pair in pairs), default=0)
        rate = pairs[0].counters.throughput.it_per_s if pairs else 0.0
        height, width = self.image.size
        speed = f"{rate:.2f} it/s at {width}x{height} px"
        if len(pairs) == 1:
            return step, ", ".join([*(f"loss {loss:.4g}" for loss in losses), speed])
        told = [f"losses {losses[0]:.4g} to {losses[-1]:.4g}"] if losses else []
        return step, ", ".join([f"{len(pairs)} pairs", *told, f"each {speed}"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what each pair needs besides its image and optimiser state; see `checkpoints`."""
        step = self.step
        # A resumed process repeats the cached evaluation, which must then not count twice. A search discards it anyway.
        repeated = int(self._cached.load() is not None and not self._search_due(step))
        checkpoint["pairs"] = []
        for sample, pair in enumerate(self.pairs):
            counters = {**pair.counters.state(), "seconds": pair.seconds}
            counters["evaluations"] -= repeated
            saved = {"step": step, "counters": counters, "search": self.search_state(sample)}
            if pair.judged:
                saved["before"] = dict(zip(("loss", "image"), pair.judged, strict=True))
            checkpoint["pairs"].append(saved)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` added."""
        for pair, saved in zip(self.pairs, checkpoint["pairs"], strict=True):
            pair.counters, pair.started = Counters.of(saved["counters"]), time.perf_counter()
            pair.objective.load_search_state(saved["search"])
            self._resumed_step = saved["step"]
            if before := saved.get("before"):
                pair.judged = before["loss"], before["image"]
        self._join_objectives()
