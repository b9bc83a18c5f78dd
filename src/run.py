"""One run, from a configuration to a folder with a picture and its record.

    from src.composition import compose
    from src.run import run

    record = run(compose(["content=astronaut", "style=dots", "steps=100"]), "multirun/from-python")

Heavy libraries are imported when a run begins, so that importing this costs nothing.
"""

import logging
import os
import shlex
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src import provenance, records
from src.catalogue import find_files, sha256_of
from src.config import RunConfig, identity, picture_name, plain, taps, typed
from src.errors import InputError, Interrupted, NonFiniteLoss, first_line
from src.files import sole_writer, write_atomically
from src.history import Tracker
from src.interrupts import Interrupts
from src.memory import keep_freed
from src.records import RunRecord
from src.tracking import open_trackers
from src.validation import WEIGHTS, validate

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
    folder = Path(output_dir)
    with Interrupts() as interrupts, sole_writer(folder):
        record = _claim(config, folder)
        if record.status == "finished":
            _same_pictures(config, record)
            log.info("already finished: %s (where it runs and who watches make no other run)", folder)
            return record
        record.status, record.error, record.ended = "running", None, None
        record.write(folder)
        _write_config(config, folder)
        trackers: list[Tracker] = []
        try:
            weights = config.backbone.weights if config.backbone.weights in WEIGHTS else "file"
            tag = f"{config.backbone.name}-{weights}"
            trackers += open_trackers(config.logger, folder, record, plain(config), tag)
            validate(config)
            _optimise(config, folder, record, interrupts, trackers)
            record.status = "finished"
        except Interrupted as stop:
            record.status, record.error = "interrupted", f"signal {stop.signal_number}"
            raise
        except KeyboardInterrupt:
            record.status, record.error = "interrupted", "signal 2"
            raise
        except BaseException as error:
            record.status, record.error = "failed", str(error) or type(error).__name__
            if not isinstance(error, InputError | NonFiniteLoss):
                record.error = f"{type(error).__name__}: {record.error}"
                log.exception("the run failed")
            raise
        finally:
            record.ended = provenance.timestamp()
            try:
                _write_last(record, folder)
            finally:
                for tracker in trackers:
                    tracker.close(record)
        if interrupts.received is not None:  # too late for this run, in time for what would come after it
            raise Interrupted(interrupts.received, _resumes(folder))
        return record


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


def _claim(config: RunConfig, folder: Path) -> RunRecord:
    record = records.read(folder)
    if record is None:
        return new_record(config)
    spec, held = identity(config), identity(typed(record.config))
    if held != spec:
        differing = sorted(key for key in spec if spec[key] != held[key])
        raise InputError(f"{folder} holds another run (it differs in {', '.join(differing)}); choose another folder")
    return record


def _same_pictures(config: RunConfig, record: RunRecord) -> None:
    for kind, picture in (("content", config.content), ("style", config.style)):
        path = Path(picture.path or "").expanduser()
        if picture.path and path.is_file() and sha256_of(path) != getattr(record, f"{kind}_sha256"):
            raise InputError(f"{path} has changed since this run finished; choose another folder to run it anew")


def new_record(config: RunConfig) -> RunRecord:
    """Return the record of a run that has not begun."""
    style, content = taps(config)
    return RunRecord(
        status="running",
        content=picture_name(config.content),
        style=picture_name(config.style),
        layers=config.layers.name,
        style_layers=style,
        content_layer=content,
        loss=config.loss.name,
        alpha=config.loss.alpha,
        beta=config.loss.beta,
        tv=config.loss.tv,
        backbone=config.backbone.name,
        weights=config.backbone.weights,
        pool=config.backbone.pool,
        init=config.init.name,
        optimizer=config.optimizer.name,
        lr=config.optimizer.lr,
        edge=config.edge,
        fit=config.fit,
        steps=config.steps,
        seed=config.seed,
        precision=config.precision,
        config=plain(config),
        versions=provenance.versions(),
        commit=provenance.commit(),
        command=provenance.command(),
        started=provenance.timestamp(),
    )


def _write_last(record: RunRecord, folder: Path) -> None:
    try:
        record.write(folder)
    except InputError as error:
        if record.status == "finished":
            raise
        log.error("%s", error)  # what ended the run is the error to raise


def _resumes(folder: Path) -> str:
    return f"python -m src.train resume={shlex.quote(str(folder))}"


def _shown(path: Path) -> str:
    inside = path.resolve().is_relative_to(Path.cwd())
    return os.path.relpath(path) if inside else str(path)


def _write_config(config: RunConfig, folder: Path) -> None:
    from omegaconf import OmegaConf

    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain(config))).encode())


def _optimise(
    config: RunConfig, folder: Path, record: RunRecord, interrupts: Interrupts, trackers: list[Tracker]
) -> None:
    files = find_files(config)  # before the heavy imports: a misspelt path is told at once
    log.info("loading PyTorch")
    keep_freed()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # a font cache that no run needs

    from src import quality
    from src.economy import out_of_memory
    from src.loop import find_device, fit
    from src.preparation import Preparation

    preparation = Preparation(config, record, files, find_device(config.trainer))
    try:
        module, prepared = fit(config, folder, record, preparation, interrupts, trackers)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise InputError(f"memory ran out ({first_line(error)}); a smaller edge will do") from error
    if module.non_finite_at is not None:
        raise NonFiniteLoss(
            f"the loss was not finite at step {module.non_finite_at}; kept the picture of step {module.image_step}. "
            f"A smaller optimizer.lr, or precision=32, may help"
        )
    if interrupts.received is not None and not module.reached and record.step < config.steps:
        raise Interrupted(interrupts.received, _resumes(folder))
    record.stopped = "loss reached" if module.reached else "all steps taken"
    found = quality.measure(module.canvas.image(), prepared.content, prepared.style, config.backbone)
    record.gradient_ssim, record.patch_distance = found["gradient_ssim"], found["patch_distance"]
    record.gram_distance = found["gram_distance"]
    last = record.captures[-1]
    log.info(
        "%s (loss %.4g -> %.4g, SSIM %.3f, %.2f it/s)",
        _shown(folder / "image.png"),
        record.initial_loss or 0.0,
        last.loss_total,
        record.ssim or 0.0,
        record.it_per_s or 0.0,
    )
