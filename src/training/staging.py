"""The stages of one run, each entered where the one before, or an earlier process, left off."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.common.errors import InputError
from src.config.schedule import Stage, Timetable
from src.evaluation import quality
from src.training.callbacks import CHECKPOINT, Captures
from src.training.economy import Economy, sparingly
from src.training.module import StyleTransferModule
from src.training.preparation import Preparation, Prepared
from src.training.session import Session
from src.transfer.compilation import Evaluate


class Staging:
    """What a run needs to enter a stage, alone or in a batch.

    Args:
        session: the run's folder, record and trackers.
        preparation: makes canvas, objective and content of each stage.

    Attributes:
        resume_step: the step of the checkpoint to go on from; -1 without one.
        prepared, module: of the stage that was entered last.
    """

    prepared: Prepared
    economy: Economy

    def __init__(self, session: Session, preparation: Preparation) -> None:
        self.session, self.preparation = session, preparation
        self.module: StyleTransferModule | None = None
        self.resume_step, self._held = -1, {}
        if (checkpoint := session.folder / CHECKPOINT).exists():
            saved = read_checkpoint(checkpoint)
            self.resume_step, self._held = saved["counters"]["step"], _shapes(saved["state_dict"])

    _held: Mapping[str, torch.Size]

    @property
    def resuming(self) -> bool:
        """Return whether the next stage to be entered goes on from a checkpoint."""
        return self.module is None and self.resume_step > 0

    def begin(self, timetable: Timetable, batch: int = 1) -> None:
        """Put record and trackers where the run goes on, in a batch of so many."""
        record = self.session.record
        record.batch = batch
        record.forget_after(self.resume_step, timetable.captures)
        record.write(self.session.folder)
        for tracker in self.session.trackers:
            tracker.begin(record, self.resume_step)

    def enter(
        self,
        stage: Stage,
        timetable: Timetable,
        stop_requested: Callable[[], bool],
        faster: Callable[[Prepared], Evaluate | None] = lambda prepared: None,
    ) -> StyleTransferModule:
        """Return the module of a stage, whose canvas starts where the stage before ended; the record is written.

        Args:
            stage: the next one.
            timetable: steps and pauses of the whole run.
            stop_requested: asked after every step.
            faster: gives the objective in a faster form.

        Raises:
            InputError: the checkpoint to go on from was written for another kind of canvas.
        """
        config, record, before, resumed = self.session.config, self.session.record, self.module, self.resuming
        image = before.canvas.picture() if before else None
        footprint = self.preparation.footprint(stage.edge, begun=resumed or image is not None)
        noted = record.memory.get(str(stage.edge))
        self.economy = Economy(footprint, config.trainer.memory, self.preparation.device, noted)
        self.economy.announce()
        self.prepared = sparingly(partial(self._prepare, stage.edge, image, resumed), self.economy.step_down)
        trackers = self.session.trackers
        module = StyleTransferModule(
            self.prepared.canvas,
            self.prepared.objective,
            config.optimizer,
            timetable,
            stage,
            config.stop_at_loss,
            trackers,
            faster(self.prepared),
            stop_requested,
            partial(sparingly, step_down=partial(self.step_down, stage.edge)),
        )
        record.write(self.session.folder)
        module.logged_step = max([-1, *(tracker.last_step for tracker in trackers)])
        if before:
            module.take_over(before, config.schedule.carry)
        if resumed and self._held != _shapes(module.state_dict()):
            raise InputError(
                f"{self.session.folder / CHECKPOINT} is of another version of this program; delete it to start this "
                f"run anew"
            )
        self.module = module
        return module

    def _prepare(self, edge: int, image: Tensor | None, resumed: bool) -> Prepared:
        self.session.record.memory[str(edge)] = self.economy.noted()
        return self.preparation.at(edge, image, resumed, self.economy.recomputed)

    def step_down(self, edge: int, error: BaseException) -> bool:
        """Keep less of an evaluation from here on, where an error says that memory has run out."""
        if not self.economy.step_down(error):
            return False
        self.prepared.objective.recomputed = self.economy.recomputed
        self.session.record.memory[str(edge)] = self.economy.noted()
        return True

    def captures(self) -> Captures:
        """Return what keeps the pictures of the stage, and judges the last of them."""
        session, prepared = self.session, self.prepared
        judge = partial(quality.judge, session.record, session.config, content=prepared.content, style=prepared.style)
        return Captures(session.folder, session.record, prepared.content, judge)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Return what a checkpoint holds.

    Raises:
        InputError: the file is none.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        assert isinstance(state["global_step"], int)
        return state
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        raise InputError(f"{checkpoint} is no checkpoint ({error}); delete it to start this run anew") from None
