"""One run, from a configuration to a folder with a picture and its record.

    from src.config.composition import compose
    from src.run import run

    record = run(compose(["content=astronaut", "style=dots", "steps=100"]), "multirun/from-python")

Heavy libraries are imported when a run begins, so that importing this costs nothing.
"""

import logging
import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from src.common.allocator import keep_freed, uncollected
from src.common.errors import InputError, Interrupted, NonFiniteLoss, first_line
from src.common.signals import Interrupts
from src.config.schema import RunConfig, plain, typed
from src.data.sources import Found, find_files
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.training.session import Session, opened

if TYPE_CHECKING:
    from src.training.module import StyleTransferModule
    from src.training.preparation import Prepared
    from src.training.starts import Starts

log = logging.getLogger(__name__)


def run(config: RunConfig | DictConfig | dict[str, Any], output_dir: Path | str) -> RunRecord:
    """Optimise one picture; everything about it lands in `output_dir`.

    A folder that already holds this very run is not run again: finished, it is returned as it is; unfinished, it goes
    on from its last checkpoint, or from the start where there is none.

    Args:
        config: the options; a dict or DictConfig is checked against `RunConfig`.
        output_dir: the run folder, made where it is missing.

    Returns:
        The record, as `record.json` holds it.

    Raises:
        InputError: something given cannot be used, or the folder holds another run.
        NonFiniteLoss: the loss became NaN or infinite; `image.png` is the last finite picture.
        Interrupted: SIGINT or SIGTERM; picture and checkpoint are written.
    """
    config = typed(config)
    with Interrupts() as interrupts, opened(config, Path(output_dir)) as session:
        if not session.finished:
            _optimise(session, interrupts)
    if interrupts.received is not None and not session.finished:  # too late for this run, in time for what comes next
        raise Interrupted(interrupts.received, _resumes(session.folder))
    return session.record


def resume(folder: Path, circumstances: dict[str, Any] | None = None) -> RunRecord:
    """Go on with the run of a folder, with the configuration it was started with.

    Args:
        folder: a run folder.
        circumstances: replacements for what does not change the run (logger, trainer, mirror, ...).

    Raises:
        InputError: the folder holds no run; otherwise as `run`.
    """
    record = records.read(folder)
    if record:
        config: Any = record.config
    elif (written := folder / ".hydra" / "config.yaml").is_file():  # killed before its first record
        from omegaconf import OmegaConf

        config = OmegaConf.to_container(OmegaConf.load(written))
    else:
        raise InputError(f"resume={folder}: there is no run in that folder")
    merged = plain(typed(config))
    for key, value in (circumstances or {}).items():
        merged[key] = {**merged[key], **value} if isinstance(value, dict) else value
    return run(merged, folder)


def _resumes(folder: Path) -> str:
    return f"python -m src.train resume={shlex.quote(str(folder))}"


def _shown(path: Path) -> str:
    inside = path.resolve().is_relative_to(Path.cwd())
    return os.path.relpath(path) if inside else str(path)


def _optimise(session: Session, interrupts: Interrupts) -> None:
    config = session.config
    files = find_files(config)  # before the heavy imports: a misspelt path is told at once
    starts = load_pytorch(None if session.record.step else config, files)

    from src.training.economy import out_of_memory
    from src.training.loop import find_device, fit
    from src.training.preparation import Preparation

    preparation = Preparation(config, session.record, files, find_device(config.trainer), starts=starts)
    try:
        module, prepared = fit(session, preparation, interrupts)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise InputError(f"memory ran out ({first_line(error)}); a smaller edge will do") from error
    conclude(session, module, prepared, interrupts)


def load_pytorch(config: RunConfig | None = None, files: Mapping[str, Found] | None = None) -> "Starts":
    """Do the heavy imports, say so, and set what must be set before them.

    Args:
        config: of a run that begins; its start is made meanwhile, where a core is free for it.
        files: as `catalogue.find_files` returns them.

    Returns:
        What makes starts, or has made that one.
    """
    log.info("loading PyTorch")
    loaded = "src.training.loop" in sys.modules
    keep_freed()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # a font cache that no run needs
    with nullcontext() if loaded else uncollected():
        from src.training.ahead import made_ahead
        from src.training.starts import Starts

        starts = Starts()
        with nullcontext() if loaded or config is None or files is None else made_ahead(starts, config, files):
            import src.training.loop  # noqa: F401  TorchMetrics and Lightning
    return starts


def conclude(session: Session, module: "StyleTransferModule", prepared: "Prepared", interrupts: Interrupts) -> None:
    """Say how the loop ended, and measure the picture where it ended well.

    Raises:
        NonFiniteLoss, Interrupted: it did not.
    """
    from src.evaluation import quality

    config, record = session.config, session.record
    if module.non_finite_at is not None:
        raise NonFiniteLoss(
            f"the loss was not finite at step {module.non_finite_at}; kept the picture of step {module.image_step}. "
            f"A smaller optimizer.lr, or precision=32, may help"
        )
    if interrupts.received is not None and not module.reached and record.step < config.steps:
        raise Interrupted(interrupts.received, _resumes(session.folder))
    record.stopped = "loss reached" if module.reached else "all steps taken"
    if record.score is None:  # resumed after its last step: by a version that judged later
        quality.judge(record, config, module.canvas.picture(), prepared.content, prepared.style)
    log.info(
        "%s (loss %.4g -> %.4g, SSIM %.3f, %.2f it/s)",
        _shown(session.folder / "image.png"),
        record.initial_loss or 0.0,
        record.captures[-1].losses["total"],
        record.ssim or 0.0,
        record.it_per_s or 0.0,
    )
