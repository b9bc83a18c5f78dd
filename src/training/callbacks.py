"""What happens at the pauses of the loop: captures, checkpoints, the record, and the signals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer
from torch import Tensor

from src.common.files import write_atomically, write_error
from src.common.signals import Interrupts
from src.data.images import write_png
from src.tracking import names as keys
from src.tracking.record import Capture, RunRecord
from src.training import metrics
from src.training.module import StyleTransferModule

CHECKPOINT = "last.ckpt"
PICTURE = "image.png"


class Captures(Callback):
    """Keeps the picture, its losses and its SSIM at the timetable's captures and where the run stops.

    Args:
        folder: the run folder; pictures go to `captures/` and, the last of them, to `image.png`.
        record: updated and written at each capture.
        content: (1, 3, H, W) content image in [0, 1] at the stage's size.
        judge: measures the finished picture for the record, and returns what is logged of it.
    """

    def __init__(
        self, folder: Path, record: RunRecord, content: Tensor, judge: Callable[[Tensor], dict[str, float]]
    ) -> None:
        self.folder = folder
        self.record = record
        self.content = content
        self.judge = judge

    def on_train_start(self, trainer: Trainer, module: StyleTransferModule) -> None:  # type: ignore[override]
        """Keep the start itself where step 0 is asked for."""
        if module.step == 0 and 0 in module.timetable.captures:
            self._capture(trainer, module)

    def on_train_batch_end(self, trainer: Trainer, module: StyleTransferModule, *_: Any) -> None:  # type: ignore[override]
        """Capture where one is due."""
        if module.step in module.timetable.captures or trainer.should_stop:
            self._capture(trainer, module)

    def _capture(self, trainer: Trainer, module: StyleTransferModule) -> None:
        self.capture(module)
        if module.non_finite_at is not None:
            trainer.should_stop = True

    def capture(self, module: StyleTransferModule) -> None:
        """Write the picture as it is, or as it last was with a finite loss."""
        values = module.measure()
        if not module.keep_if_finite(values[keys.TOTAL]):
            values = module.measure()
        image = module.canvas.picture()
        values[keys.SSIM] = metrics.ssim(image, self.content)
        step = module.image_step
        path = self.folder / "captures" / f"step_{step:06d}.png"
        write_png(path, image[0])
        write_atomically(self.folder / PICTURE, path.read_bytes())
        self._note(module, image, values, step, path)
        if module.non_finite_at is not None:
            return
        if module.reached or step == module.timetable.steps:
            # what the loop took, without the judging after it
            values |= {keys.SECONDS: self.record.seconds, keys.PEAK_MIB: self.record.peak_mib or 0.0}
            values |= self.judge(image)
            self.record.write(self.folder)
        module.log_point(values, picture=path)

    def _note(
        self, module: StyleTransferModule, image: Tensor, values: dict[str, float], step: int, path: Path
    ) -> None:
        record = self.record
        record.step = step
        record.initial_loss = module.initial_loss if module.initial_loss is not None else values[keys.TOTAL]
        record.evaluations = module.evaluations
        record.it_per_s = module.throughput.it_per_s
        record.mpx_it_per_s = module.throughput.mpx_it_per_s
        record.peak_mib = metrics.peak_mib(module.device)
        record.seconds = module.seconds
        record.ssim = values[keys.SSIM]
        record.ssim_published = metrics.ssim_published(image, self.content)
        if record.initial_loss and values[keys.TOTAL]:
            record.loss_decay = record.initial_loss / values[keys.TOTAL]
        losses = {key.removeprefix("loss/"): value for key, value in values.items() if key.startswith("loss/")}
        record.add_capture(
            Capture(
                step=step,
                losses=losses,
                file=str(path.relative_to(self.folder)),
                ssim=values[keys.SSIM],
                seconds=record.seconds,
            )
        )
        record.write(self.folder)


class Checkpoints(Callback):
    """Writes `last.ckpt` at the timetable's checkpoints and where the run stops.

    A run that went non-finite keeps the checkpoint from before.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, module: StyleTransferModule, *_: Any) -> None:  # type: ignore[override]
        """Save where one is due."""
        due = module.timetable.saves_at(module.step) or module.step == module.stage.last or trainer.should_stop
        if due and module.non_finite_at is None:
            save_checkpoint(trainer, self.folder)


def save_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Write `last.ckpt` of a training, whole or not at all.

    Raises:
        InputError: it cannot be written; the old one is intact.
    """
    # Lightning's own atomic save may put its temporary file on another disk, where a rename is a copy.
    temporary = folder / f".{CHECKPOINT}.part"
    try:
        trainer.save_checkpoint(temporary, weights_only=False)
        temporary.replace(folder / CHECKPOINT)
    except OSError as error:
        raise write_error(folder / CHECKPOINT, error) from error
    finally:
        temporary.unlink(missing_ok=True)


class Signals(Callback):
    """Takes the signals back after Lightning has taken them: its SIGTERM handler would exit with status 0."""

    def __init__(self, interrupts: Interrupts) -> None:
        self.interrupts = interrupts

    def on_train_start(self, trainer: Trainer, module: StyleTransferModule) -> None:  # type: ignore[override]
        """Listen again."""
        self.interrupts.listen()
