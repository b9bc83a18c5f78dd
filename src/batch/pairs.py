"""One pair of a batch: its session, what it optimises, and its end, which is no other pair's."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from src.batch.logs import AT_WORK
from src.common.errors import Interrupted
from src.common.signals import Interrupts
from src.config.schedule import Stage, Timetable
from src.config.schema import RunConfig
from src.data.sources import Found
from src.run import conclude
from src.tracking.record import RunRecord
from src.training.callbacks import Captures
from src.training.loop import find_device
from src.training.module import StyleTransferModule
from src.training.preparation import Preparation
from src.training.session import Session, opened
from src.training.staging import Staging


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
    staging: Staging
    module: StyleTransferModule
    captures: Captures

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.over = False
        self.error: BaseException | None = None
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

    def prepare(self, files: dict[str, Found], beside: "Preparation | None") -> Preparation:
        """Read the pictures, and where an earlier process has left off."""
        device = beside.device if beside else find_device(self.config.trainer)
        preparation = Preparation(self.config, self.record, files, device, beside)
        self.staging = Staging(self.session, preparation)
        return preparation

    def order(self) -> tuple[int, str]:
        """Return what pairs must share to go on together: the step, and whether they were compiled when they began."""
        return self.staging.resume_step, str(self.record.compiled)

    def enter(self, stage: Stage, timetable: Timetable, interrupts: Interrupts) -> None:
        """Prepare a stage: the canvas starts where the stage before ended.

        Raises:
            InputError: the checkpoint to go on from does not fit.
        """
        self.module = self.staging.enter(stage, timetable, interrupts.requested).to(self.staging.preparation.device)
        self.captures = self.staging.captures()

    @property
    def stopped(self) -> bool:
        """Return whether it has come to its end before the others."""
        return self.over or self.module.reached or self.module.non_finite_at is not None

    def finish(self, interrupts: Interrupts) -> None:
        """Measure the picture and close the session, as finished or as what it was."""
        with self.alone():
            conclude(self.session, self.module, self.staging.prepared, interrupts)
            self.end()
