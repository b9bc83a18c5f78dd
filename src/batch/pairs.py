"""One pair of a batch: its session, what it optimises, and its end, which is no other pair's."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

from src.batch.logs import AT_WORK
from src.callbacks import Captures
from src.catalogue import Found
from src.config import RunConfig
from src.errors import Interrupted
from src.interrupts import Interrupts
from src.loop import captures_of, check_shapes, find_device, left_off
from src.module import StyleTransferModule
from src.preparation import Preparation, Prepared
from src.records import RunRecord
from src.run import conclude
from src.schedule import Stage, Timetable
from src.session import Session, opened


class Pair:
    """A run among others.

    Args:
        config: its options.
        folder: its run folder, opened as soon as the pair is.

    Attributes:
        over: whether it has ended, well or not; its folder is then closed.
        error: what ended it, where it is over and not finished.
    """

    session: Session
    preparation: Preparation
    prepared: Prepared
    module: StyleTransferModule
    captures: Captures

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.over = False
        self.error: BaseException | None = None
        self.resume_step = -1
        self.shapes: dict[str, torch.Size] = {}
        self._context: AbstractContextManager[Session] = opened(config, folder)
        self._begun = False
        with self.alone():
            self.session = self._context.__enter__()
            self._begun = True
            if self.session.finished:
                self.end()

    @property
    def record(self) -> RunRecord:
        """Return its record."""
        return self.session.record

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work on this pair: what goes wrong ends it and no other, and what is logged is said of it alone."""
        token = AT_WORK.set(self.folder)
        try:
            yield
        except (Exception, Interrupted) as error:
            self.end(error)
        finally:
            AT_WORK.reset(token)

    def end(self, error: BaseException | None = None) -> None:
        """Close the session, for the reason that is given; again, it changes nothing but the reason."""
        self.error = error
        if self.over:
            return
        self.over = True
        if self._begun:
            try:
                self._context.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
            except BaseException as late:  # the same again, or a record that could not be written
                self.error = late

    def prepare(self, files: dict[str, Found], beside: "Preparation | None") -> None:
        """Read the pictures, and where an earlier process has left off."""
        device = beside.device if beside else find_device(self.config.trainer)
        self.preparation = Preparation(self.config, self.record, files, device, beside)
        self.resume_step, self.shapes = left_off(self.folder)

    def order(self) -> tuple[int, str]:
        """Return what pairs must share to go on together: the step, and whether they were compiled when they began."""
        return self.resume_step, str(self.record.compiled)

    def begin(self, timetable: Timetable, batch: int) -> None:
        """Put record and trackers where the run goes on, in a batch of so many."""
        self.record.batch = batch
        self.record.forget_after(self.resume_step, timetable.captures)
        self.record.write(self.folder)
        for tracker in self.session.trackers:
            tracker.begin(self.record, self.resume_step)

    def enter(self, stage: Stage, timetable: Timetable, interrupts: Interrupts) -> None:
        """Prepare a stage: the canvas starts where the stage before ended.

        Raises:
            InputError: the checkpoint to go on from does not fit.
        """
        before = getattr(self, "module", None)
        resumed = before is None and self.resume_step > 0
        image = before.canvas.picture() if before else None
        self.record.memory.pop(str(stage.edge), None)  # of an earlier process in which it was alone
        self.prepared = self.preparation.at(stage.edge, image, restored=resumed)
        trackers = self.session.trackers
        self.module = StyleTransferModule(
            self.prepared.canvas,
            self.prepared.objective,
            self.config.optimizer,
            timetable,
            stage,
            self.config.stop_at_loss,
            trackers,
            None,
            interrupts.requested,
        ).to(self.preparation.device)
        self.module.logged_step = max([-1, *(tracker.last_step for tracker in trackers)])
        if before:
            self.module.take_over(before)
        if resumed:
            check_shapes(self.folder, self.shapes, self.module)
        self.captures = captures_of(self.config, self.folder, self.record, self.prepared)

    @property
    def stopped(self) -> bool:
        """Return whether it has come to its end before the others."""
        return self.over or self.module.reached or self.module.non_finite_at is not None

    def finish(self, interrupts: Interrupts) -> None:
        """Measure the picture and close the session, as finished or as what it was."""
        with self.alone():
            conclude(self.session, self.module, self.prepared, interrupts)
            self.end()
