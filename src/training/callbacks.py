"""What happens at the pauses of the loop: captures, previews, checkpoints, the record, and the end of each pair."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer
from torch import Tensor

from src.common.errors import NonFiniteLoss
from src.common.files import write_atomically
from src.common.signals import Interrupts
from src.config.schedule import stages
from src.config.schema import PREVIEW, RunConfig, result_file
from src.data.images import resize, write_image
from src.evaluation import quality
from src.evaluation.ssim import ssim, ssim_published
from src.ops.losses import LOSS_FORMS
from src.tracking import names
from src.tracking.record import Capture
from src.training import checkpoints
from src.training.checkpoints import CHECKPOINT, Checkpoint
from src.training.memory import peak_mib
from src.training.module import StyleTransferModule
from src.training.pair import Pair
from src.training.setup import PreparedRun

log = logging.getLogger(__name__)


class Pauses(Callback):
    """Writes captures, previews and checkpoints where the timetable has them, and ends the runs that are done.

    Args:
        module: of the batch.
        runs: by pair.
        interrupts: records SIGINT and SIGTERM.
    """

    def __init__(self, module: StyleTransferModule, runs: Mapping[Pair, PreparedRun], interrupts: Interrupts) -> None:
        self.module = module
        self.runs = runs
        self.interrupts = interrupts

    def save(self, sample: int, checkpoint: Checkpoint) -> None:
        """Write the checkpoint of one sample into its run's folder."""
        context = self.runs[self.module.pairs[sample]].context
        with context.guard():
            checkpoints.write(context.folder, checkpoint)

    def load(self) -> list[Checkpoint]:
        """Return the checkpoints that the runs resume from."""
        found = [self.runs[pair].checkpoint for pair in self.module.pairs]
        return [checkpoint for checkpoint in found if checkpoint is not None]

    def on_train_start(self, trainer: Trainer, module: StyleTransferModule) -> None:  # type: ignore[override]
        """Capture the starting images where step 0 is asked for."""
        # Lightning's own SIGTERM handler would exit with status 0.
        self.interrupts.listen()
        if module.step == 0 and 0 in module.timetable.captures:
            self._capture(list(module.active))
            self._end_stopped(trainer)

    def on_train_batch_end(self, trainer: Trainer, module: StyleTransferModule, *_: Any) -> None:  # type: ignore[override]
        """Capture and save what is due, and end the pairs that have stopped."""
        table, step = module.timetable, module.step
        everyone = list(module.active)
        stopped = [sample for sample, pair in module.active.items() if pair.stopped]
        self._capture(everyone if step in table.captures or trainer.should_stop else stopped)
        if table.previews_at(step):
            self._preview(everyone)
        save_all = table.saves_at(step) or step == module.stage.last or trainer.should_stop
        due = [
            sample
            for sample in (everyone if save_all else stopped)
            if (pair := module.pairs[sample]).non_finite_at is None and not self.runs[pair].context.ended
        ]
        if due:
            trainer.save_checkpoint(CHECKPOINT, weights_only=False, storage_options=due)
        self._end_stopped(trainer)

    def _end_stopped(self, trainer: Trainer) -> None:
        module = self.module
        over = [pair for pair in module.active.values() if pair.stopped or self.runs[pair].context.ended]
        for pair in over:
            finish(self.runs[pair], self.interrupts)
        if over:
            module.drop(over)
        if not module.active:
            trainer.should_stop = True

    def _capture(self, samples: list[int]) -> None:
        for sample in samples:
            pair = self.module.pairs[sample]
            run = self.runs[pair]
            # Without a finite image in this stage or process, the last picture stays.
            lost = pair.non_finite_at is not None and pair.last_finite is None and self.module.step > 0
            if pair.error is None and not lost and not run.context.ended:
                with run.context.guard():
                    capture(self.module, sample, run)

    def _preview(self, samples: list[int]) -> None:
        pictures = self.module.image.picture()
        for sample in samples:
            pair = self.module.pairs[sample]
            run = self.runs[pair]
            if not pair.stopped and not run.context.ended:
                with run.context.guard():
                    run.write_preview(run.as_saved(pictures[sample : sample + 1]))


def capture(module: StyleTransferModule, sample: int, run: PreparedRun) -> None:
    """Write the picture of a sample, its losses and its SSIM; judge the last picture of a run.

    Losses are measured on the image that is optimised, SSIM and the quality metrics on the picture that is saved. If
    the loss is not finite, the last image with a finite one is captured. `captures/` holds pictures at the size of
    their stage; the result always has its final size.
    """
    pair, record, folder = module.pairs[sample], run.context.record, run.context.folder
    values = module.measure(sample)
    if not module.keep_if_finite(sample, values[names.TOTAL]):
        values = module.measure(sample)
    picture, original = run.as_saved(module.image.picture()[sample : sample + 1]), run.originals
    shown, content = run.shown(picture), run.shown(original.content)
    values[names.SSIM] = ssim(shown, content)
    step, counters = pair.image_step(module.step), pair.counters
    path = _write_pictures(run, picture, step)
    if counters.initial_loss is None:
        counters.initial_loss = values[names.TOTAL]
    record.step, record.evaluations, record.initial_loss = step, counters.evaluations, counters.initial_loss
    record.it_per_s, record.mpx_it_per_s = counters.throughput.it_per_s, counters.throughput.mpx_it_per_s
    record.peak_mib, record.seconds = peak_mib(module.device), pair.seconds
    record.ssim, record.ssim_published = values[names.SSIM], ssim_published(shown, content)
    if record.initial_loss and values[names.TOTAL] and _comparable(run.context.config):
        record.loss_decay = record.initial_loss / values[names.TOTAL]
    losses = {key.removeprefix("loss/"): value for key, value in values.items() if key.startswith("loss/")}
    file = str(path.relative_to(folder))
    record.add_capture(Capture(step=step, losses=losses, file=file, ssim=record.ssim, seconds=record.seconds))
    record.write(folder)
    if pair.non_finite_at is not None:
        return
    if pair.reached or step == module.timetable.steps:
        # The time and memory of the loop, without the judging that follows.
        values |= {names.SECONDS: record.seconds, names.PEAK_MIB: record.peak_mib or 0.0}
        values |= quality.judge(record, run.context.config, shown, content, original.style)
        record.write(folder)
    if pair.reached or step in module.timetable.captures:  # a resume supersedes the capture of an interruption
        pair.log_point(values, module.step, record.peak_mib or 0.0, picture=path)


def _write_pictures(run: PreparedRun, picture: Tensor, step: int) -> Path:
    """Write a picture (1, 3, H, W) as the capture of a step, at the size of its stage, and as the result, at its size.

    Of a texture, the capture shows the views. Returns the path of the capture.
    """
    folder, config, record = run.context.folder, run.context.config, run.context.record
    result = folder / result_file(config)
    path = folder / "captures" / f"step_{step:06d}{result.suffix}"
    size = picture.shape[3], picture.shape[2]
    final = record.width or size[0], record.height or size[1]
    if run.sheet is not None:  # the content's alpha is that of the texture, not of its views
        write_image(path, run.sheet.picture(picture)[0], config.depth)
    else:
        run.write(path, picture)
        if final == size:
            write_atomically(result, path.read_bytes())
            return path
    run.write(result, resize(picture.float(), final))
    return path


def finish(run: PreparedRun, interrupts: Interrupts) -> None:
    """Close a run whose loop has ended: finished, or with the error that says why not."""
    context, pair = run.context, run.pair
    config, record = context.config, context.record
    if context.ended:
        return
    with context.guard():
        (context.folder / PREVIEW).unlink(missing_ok=True)
        if pair.error is not None:
            raise pair.error
        if pair.non_finite_at is not None:
            kept = f"the picture of step {record.step} is kept" if record.captures else "no picture was captured"
            raise NonFiniteLoss(
                f"the loss was not finite at step {pair.non_finite_at}; {kept}. "
                "Try a smaller optimizer.lr or precision=32"
            )
        if not pair.reached and record.step < config.steps:
            interrupts.check(context.resume_command)
        record.stopped = "loss reached" if pair.reached else "all steps taken"
        first = record.initial_loss if _comparable(config) else None
        record.warning = loss_warning(first, record.captures[-1].losses[names.TOTAL_TERM], pair.counters.jumped)
        if record.warning:
            log.warning("%s", record.warning)
        if context.outputs:
            context.loggers.log_files(context.outputs(context.folder), record.step)
        context.announce_result()
        context.close()


def _comparable(config: RunConfig) -> bool:
    """Return whether losses of the first and the last size of a run can be compared."""
    return not LOSS_FORMS[config.loss.name].sums_positions or len({stage.edge for stage in stages(config)}) == 1


def loss_warning(first: float | None, last: float, jump: tuple[int, float, float] | None) -> str | None:
    """Return a line on a loss that ended above its start or jumped on the way (step, before, after); else None."""
    told = [f"ended above its start ({first:.4g} -> {last:.4g})"] if first is not None and last > first else []
    told += [f"jumped from {jump[1]:.4g} to {jump[2]:.4g} at step {jump[0]}"] if jump else []
    return f"the loss {' and '.join(told)}; try a smaller optimizer.lr" if told else None
