"""Several pairs as one LightningModule: one canvas, one optimiser step for all, and the end of each for itself."""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from src.batch.objective import BatchObjective, descend, joined
from src.config.schedule import Stage, Timetable
from src.config.schema import Optimizer as OptimizerOptions
from src.tracking import names as keys
from src.training import metrics
from src.training.economy import out_of_memory
from src.training.module import Halt, StyleTransferModule
from src.transfer.canvas import Canvas
from src.transfer.compilation import Evaluate
from src.transfer.objective import Objective, Terms

log = logging.getLogger(__name__)


class BatchModule(StyleTransferModule):
    """Moves a canvas (B, 3, H, W) downhill, each sample on the objective of its own pair.

    Every pair keeps the module that it would have alone, and with it its losses, counters and trackers: a member, whose
    canvas is a view of one sample. Nothing passes from one sample to another: a sample's gradient is that of its own
    loss, and Adam moves each number by its own gradient.

    Args:
        members: the pairs, with canvases of one size and space; they take the same steps.
        options: the optimiser, Adam.
        timetable, stage: theirs.
        at_once: samples that are evaluated together; fewer from where there is too little memory for so many.
        faster: makes an objective a faster form of itself.
        stop_requested: as of `StyleTransferModule`.
        step_down: lets the members keep less of an evaluation where memory ran out for a single one; False where the
            error is another.

    Attributes:
        failed: what went wrong with a member when its values were noted.
    """

    def __init__(
        self,
        members: Sequence[StyleTransferModule],
        options: OptimizerOptions,
        timetable: Timetable,
        stage: Stage,
        at_once: int,
        faster: Callable[[Objective], Evaluate] | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
        step_down: Callable[[BaseException], bool] = lambda error: False,
    ) -> None:
        canvas = Canvas.joined([each.canvas for each in members])
        super().__init__(canvas, members[0].objective, options, timetable, stage, stop_requested=stop_requested)
        self.at_once = at_once
        self.faster = faster
        self.step_down = step_down
        self.failed: dict[StyleTransferModule, Exception] = {}
        self._over: set[StyleTransferModule] = set()
        self._take(list(members))

    members: list[StyleTransferModule]
    parts: list[Objective]
    evaluates: list[Evaluate]

    def _take(self, members: list[StyleTransferModule]) -> None:
        starts = range(0, len(members), self.at_once)
        parts = [joined([each.objective for each in members[start : start + self.at_once]]) for start in starts]
        # like the objective of a single pair, outside of module registration
        self.__dict__["members"] = members
        self.__dict__["parts"] = parts
        self.__dict__["evaluates"] = [self.faster(part) for part in parts] if self.faster else parts

    @property
    def active(self) -> dict[int, StyleTransferModule]:
        """Return the members that go on, by their samples."""
        return {sample: each for sample, each in enumerate(self.members) if each not in self._over}

    def on_train_start(self) -> None:
        """Start the clocks."""
        super().on_train_start()
        for member in self.members:
            member.trainer = self.trainer
            member.on_train_start()

    def count(self, evaluations: int, seconds: float) -> None:
        """Add to the throughput: each pair was evaluated as often as the batch, in the same time."""
        super().count(evaluations, seconds)
        for member in self.active.values():
            member.evaluations += evaluations
            member.count(evaluations, seconds)

    def forget_matches(self) -> None:
        """Look the nearest patches up again, for all."""
        for part in self.parts:
            part.forget_matches()

    def share_matches(self) -> None:
        """Let the members know which patches are nearest: they measure by them, and keep them in their checkpoints."""
        for part in self.parts:
            if isinstance(part, BatchObjective):
                part.share_matches()

    def halt(self) -> None:
        """Go on: those that have come to their end are taken out by `drop`."""

    def closure(self, look_first: bool) -> Callable[[], Tensor]:
        """Return what evaluates all pairs and leaves the gradient with the canvas."""

        @torch.enable_grad()
        def evaluate() -> Tensor:
            parts = self._descend()
            if look_first:
                self._note([values for terms in parts for values in metrics.terms_to_metrics(terms)])
            self.evaluations += 1
            return torch.stack([terms.total.detach().sum() for terms in parts]).sum()

        return evaluate

    def _descend(self) -> list[Terms]:
        while True:
            self.canvas.zero_grad()
            try:
                return descend(self.canvas, self.evaluates, self.at_once)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or (self.at_once == 1 and not self.step_down(error)):
                    raise
            # outside of the handler, whose error holds what is to be freed
            if self.at_once > 1:
                self.at_once = -(-self.at_once // 2)
                log.warning("too little memory: from here on %d pairs are evaluated at once", self.at_once)
            self.share_matches()
            self._take(self.members)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _note(self, values: list[dict[str, float]]) -> None:
        halted = False
        for sample, member in self.active.items():
            try:
                member.note(_asked(values[sample], member.objective))
            except Halt:
                halted = True
            except Exception as error:  # its own trackers' or its own disk's: no other member's business
                self.failed[member] = error
                halted = True
        if halted:
            raise Halt

    def drop(self, gone: Collection[StyleTransferModule]) -> None:
        """Take members out of the batch, whose samples are then computed no more.

        A compiled batch, made for its size, goes on with samples that nobody looks at until half of them are such.
        """
        self._over |= set(gone)
        kept = self.active
        if not kept or len(kept) == len(self.members) or (self.faster and 2 * len(kept) > len(self.members)):
            return
        self.share_matches()
        samples = list(kept)
        states = self.optimizers().optimizer.state  # type: ignore[union-attr]
        for part in self.canvas.parts:
            for name, value in states.get(part, {}).items():
                if value.dim() > 0:
                    states[part][name] = value[samples]
        self.canvas.keep(samples)
        self.canvas.tie([each.canvas for each in kept.values()])
        self._take(list(kept.values()))

    def shown(self) -> tuple[int, str]:
        """Return the step of the latest losses, and a line about them for people."""
        going = list(self.active.values())
        losses = sorted(each.latest[keys.TOTAL] for each in going if each.latest)
        words = [f"{len(going)} pairs", *([f"losses {losses[0]:.4g} to {losses[-1]:.4g}"] if losses else [])]
        step = max((each.latest_step for each in going), default=0)
        return step, ", ".join([*words, f"{self.throughput.it_per_s:.2f} it/s each"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what each member keeps besides its image and its optimiser's moments."""
        self.share_matches()
        checkpoint["members"] = [{} for _ in self.members]
        for member, own in zip(self.members, checkpoint["members"], strict=True):
            member.on_save_checkpoint(own)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take all that up again."""
        for member, own in zip(self.members, checkpoint["members"], strict=True):
            member.on_load_checkpoint(own)
        self._take(self.members)


def _asked(values: dict[str, float], objective: Objective) -> dict[str, float]:
    """Return the values without those of terms whose weight is zero in this pair, though not in all."""
    with_content, with_style = objective.asked
    style = (keys.STYLE, keys.PALETTE)
    return {
        key: value
        for key, value in values.items()
        if (with_content or key != keys.CONTENT) and (with_style or not key.startswith(style))
    }
