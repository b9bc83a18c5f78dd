"""The loop over the steps of a batch: Lightning's Trainer, with captures, checkpoints and ends of each pair."""

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from src.batch.checkpoints import Checkpoint, MemberCheckpoints
from src.batch.module import BatchModule
from src.batch.pairs import Pair
from src.common.files import atomic_file
from src.common.signals import Interrupts
from src.config.schedule import stages
from src.training.callbacks import CHECKPOINT, Signals
from src.training.loop import build_trainer, compiles, timetable_of
from src.training.module import StyleTransferModule
from src.training.progress import Progress
from src.training.staging import read_checkpoint
from src.transfer.compilation import compiled

log = logging.getLogger(__name__)

# Samples that are evaluated together on a CPU: of one alone, a pair is what it would be by itself, to the bit.
AT_ONCE = 1


def fit(pairs: Sequence[Pair], interrupts: Interrupts, at_once: int | None = None) -> None:
    """Run pairs that go on from the same step through their stages; each is over when this returns.

    Args:
        pairs: prepared, not over.
        interrupts: asked after every step.
        at_once: how many are evaluated together; None is what suits the device.
    """
    first = pairs[0]
    config, device = first.config, first.staging.preparation.device
    timetable = timetable_of(config, device)
    resume_step = first.staging.resume_step
    for pair in pairs:
        with pair.alone():
            pair.staging.begin(timetable, len(pairs))
    if resume_step >= 0:
        log.info("%d pairs go on at step %d of %d", len(pairs), resume_step, config.steps)
    module: BatchModule | None = None
    progress = Progress(config.steps, max(0, resume_step), lambda: module.shown() if module else (0, ""))
    try:
        for stage in stages(config):
            if stage.last < resume_step:
                continue
            for pair in going(pairs):
                with pair.alone():
                    pair.enter(stage, timetable, interrupts)
            if not (members := going(pairs)):
                break
            resumed = module is None and resume_step > 0
            whole = compiles(config, members[0].record, members[0].staging.prepared)
            for pair in members:
                pair.record.compiled = whole
            owners = {pair.module: pair for pair in members}
            module = BatchModule(
                list(owners),
                config.optimizer,
                timetable,
                stage,
                len(members) if whole else min(len(members), at_once or at_once_on(device, len(members))),
                compiled if whole else None,
                interrupts.requested,
                partial(_step_down, members, stage.edge),
            )
            ends = Ends(module, owners, interrupts)
            trainer = build_trainer(
                config.trainer,
                max_steps=stage.last - stage.first,
                max_epochs=-1,
                callbacks=[Signals(interrupts), progress, ends],
                default_root_dir=first.folder,
                plugins=[MemberCheckpoints(ends.write, ends.read)],
            )
            begin = first.folder / CHECKPOINT if resumed else None
            trainer.fit(module, itertools.repeat(0), ckpt_path=begin, weights_only=True)
            if interrupts.requested():
                break
        for pair in going(pairs):
            pair.finish(interrupts)
    finally:
        progress.close()


def _step_down(pairs: Sequence[Pair], edge: int, error: BaseException) -> bool:
    """Keep less of the evaluation of every pair, where an error says that memory has run out."""
    return all(pair.staging.step_down(edge, error) for pair in pairs)


def at_once_on(device: torch.device, pairs: int) -> int:
    """Return how many samples of a batch are evaluated together: a GPU needs them all, a CPU is busy with one."""
    return min(pairs, AT_ONCE) if device.type == "cpu" else pairs


def going(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs that are not over."""
    return [pair for pair in pairs if not pair.over]


class Ends(Callback):
    """Captures and checkpoints of every pair where they are due, and the end of those that end before the others.

    Args:
        module: of the batch.
        owners: the pair of each of its members.
        interrupts: asked how a pair ended.
    """

    def __init__(self, module: BatchModule, owners: Mapping[StyleTransferModule, Pair], interrupts: Interrupts) -> None:
        self.module = module
        self.owners = owners
        self.interrupts = interrupts

    def write(self, sample: int, checkpoint: Checkpoint) -> None:
        """Save the checkpoint of a sample in its own folder."""
        pair = self.owners[self.module.members[sample]]
        with pair.alone(), atomic_file(pair.folder / CHECKPOINT) as file:
            torch.save(checkpoint, file)

    def read(self) -> list[Checkpoint]:
        """Return the checkpoints that the pairs go on from."""
        return [read_checkpoint(self.owners[member].folder / CHECKPOINT) for member in self.module.members]

    def on_train_start(self, trainer: Trainer, module: BatchModule) -> None:  # type: ignore[override]
        """Keep the starts where step 0 is asked for."""
        if module.step == 0 and 0 in module.timetable.captures:
            self._capture(list(module.active.values()))
            self._part(trainer)

    def on_train_batch_end(self, trainer: Trainer, module: BatchModule, *_: Any) -> None:  # type: ignore[override]
        """Capture and save where that is due, and let those go that have come to their end."""
        for member, error in module.failed.items():
            self.owners[member].end(error)
        module.failed.clear()
        table, step = module.timetable, module.step
        stopped = [member for member in module.active.values() if self.owners[member].stopped]
        everyone = list(module.active.values())
        self._capture(everyone if step in table.captures or trainer.should_stop else stopped)
        all_save = table.saves_at(step) or step == module.stage.last or trainer.should_stop
        due = everyone if all_save else stopped
        samples = [sample for sample, member in module.active.items() if member in due and self._finite(member)]
        if samples:
            trainer.save_checkpoint(CHECKPOINT, weights_only=False, storage_options=samples)
        self._part(trainer)

    def _finite(self, member: StyleTransferModule) -> bool:
        return member.non_finite_at is None and not self.owners[member].over

    def _capture(self, members: list[StyleTransferModule]) -> None:
        if members:
            self.module.share_matches()
        for pair in going(self.owners[member] for member in members):
            with pair.alone():
                pair.captures.capture(pair.module)

    def _part(self, trainer: Trainer) -> None:
        """End what has come to its end, and go on without."""
        stopped = [member for member in self.module.active.values() if self.owners[member].stopped]
        if not stopped:
            return
        for pair in going(self.owners[member] for member in stopped):
            pair.finish(self.interrupts)
        self.module.drop(stopped)
        if not self.module.active:
            trainer.should_stop = True
