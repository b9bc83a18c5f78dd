"""Run style transfer from Python.

    from src.config.composition import compose
    from src.run import run

    record = run(compose(["content=astronaut", "style=dots", "steps=100"]), "multirun/from-python")

Heavy libraries are imported when a run begins, so importing this module is cheap.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from src.common.errors import InputError, Interrupted, first_line
from src.common.signals import Interrupts
from src.config.identity import identity, run_name
from src.config.schedule import last_share
from src.config.schema import RunConfig, plain, typed
from src.tracking import record as records
from src.tracking.record import RunRecord

if TYPE_CHECKING:
    from src.training.context import Outputs, RunContext
    from src.training.setup import Shared

log = logging.getLogger(__name__)


def run(
    config: RunConfig | DictConfig | dict[str, Any],
    output_dir: Path | str,
    progress: bool | None = None,
    outputs: "Outputs | None" = None,
) -> RunRecord:
    """Optimise one picture and write everything about it into `output_dir`.

    A folder that already holds this run is not run again: a finished run is returned as it is, an unfinished one
    resumes from its last checkpoint, or from the beginning where there is none.

    Args:
        config: the options; a dict or DictConfig is checked against `RunConfig` and gets its defaults. Presets such as
            `loss=published` are those of `config.composition.compose`.
        output_dir: the run folder; created where it is missing.
        progress: show a progress bar on stderr; None does so on a terminal.
        outputs: makes further files of the result in the folder, before the run counts as finished; returns them by
            name, for the trackers.

    Returns:
        The record, as `record.json` holds it.

    Raises:
        InputError: an option or a file cannot be used, or the folder holds another run.
        NonFiniteLoss: the loss became NaN or infinite; `image.png` (or another format) is the last finite picture.
        Interrupted: SIGINT or SIGTERM; picture and checkpoint are written. The record says whether the run had finished
            when the signal came.
    """
    (result,) = run_batch([(typed(config), Path(output_dir))], progress=progress, outputs=outputs)
    if isinstance(result, BaseException):
        raise result
    return result


def run_folder(config: RunConfig) -> str:
    """Check what can be checked before the folder of a run exists; return its name.

    Raises:
        InputError: with the bad value and the right ones.
    """
    from src.data.sources import check_local_files
    from src.transfer.checks import check_options

    check_options(config)
    check_local_files(config)
    return run_name(config)


def run_batch(
    jobs: Sequence[tuple[RunConfig, Path]],
    at_once: int | None = None,
    progress: bool | None = None,
    encoders: "dict[str, Shared] | None" = None,
    outputs: "Outputs | None" = None,
) -> list[RunRecord | BaseException]:
    """Optimise several pictures in one batch; what `run` says of a folder holds for each of them.

    Runs that resume from different steps, or began with another precision, form batches of their own.

    Args:
        jobs: options and folder of each run, which differ as `training.grouping` permits; no folder twice.
        at_once: pairs evaluated together; None is all on a GPU and one on a CPU.
        progress: as for `run`.
        encoders: by precision, kept for later batches of the same network and device; updated in place.
        outputs: as for `run`.

    Returns:
        For each job its record, or the exception that ended it.

    Raises:
        Interrupted: a signal came after the last step. All jobs have ended; the caller must not start another.
    """
    from src.training.context import RunContext

    contexts = [RunContext(config, folder, outputs) for config, folder in jobs]
    with Interrupts() as interrupts:
        for context in contexts:
            with context.guard():
                context.check()
        if waiting := [context for context in contexts if not context.ended]:
            with _closing(waiting):
                _run_together(waiting, interrupts, at_once, progress, {} if encoders is None else encoders)
    if contexts and not any(isinstance(each.error, Interrupted) for each in contexts):
        interrupts.check(contexts[0].resume_command)
    return [context.error or context.record for context in contexts]


def _run_together(
    contexts: "Sequence[RunContext]",
    interrupts: Interrupts,
    at_once: int | None,
    progress: bool | None,
    encoders: "dict[str, Shared]",
) -> None:
    log.info("loading PyTorch")
    from src.common.platform import cpu_threads, resolved_precision
    from src.ops import kernels
    from src.training.loop import find_device, fit
    from src.training.setup import PreparedRun

    groups: dict[tuple[object, ...], list[PreparedRun]] = {}
    trainer = contexts[0].config.trainer
    with cpu_threads(trainer.threads), kernels.use(trainer.kernels == "auto"):
        for context in contexts:
            with context.guard():
                device = find_device(trainer)
                precision = resolved_precision(context.record.precision, device)
                prepared = PreparedRun(context, device, encoders.get(precision))
                encoders[precision] = prepared.shared
                context.open()
                prepared.announce()
                at = prepared.resume_step, prepared.resume_stage
                alike = *at, context.record.precision, context.record.compiled
                groups.setdefault(alike, []).append(prepared)
        for group in groups.values():
            with _closing([prepared.context for prepared in group]):
                fit(group, interrupts, at_once, progress)


@contextmanager
def _closing(contexts: "Sequence[RunContext]") -> Iterator[None]:
    """Let an error of runs that are at work together end these runs and no other."""
    try:
        yield
    except Exception as error:
        for context in contexts:
            context.close(_explained(error))
    except BaseException as error:
        for context in contexts:
            context.close(error)
        raise


def _explained(error: Exception) -> Exception:
    from src.training.memory import out_of_memory

    if not out_of_memory(error):
        return error
    explained = InputError(f"out of memory ({first_line(error)}); use a smaller edge")
    explained.__cause__ = error
    return explained


def resume(folder: Path, replacements: Mapping[str, Any] | None = None) -> RunRecord:
    """Go on with the run of a folder, or continue it beyond its last step in a new folder; see `resumed`."""
    return run(*resumed(folder, replacements))


def resumed(folder: Path, replacements: Mapping[str, Any] | None = None) -> tuple[RunConfig, Path]:
    """Return the options and the folder with which the run of a folder goes on.

    Args:
        folder: a run folder.
        replacements: options that do not change the run (logger, trainer, mirror, ...), for the same folder; with other
            `steps` the run continues in the folder that `training.continuation` creates.

    Raises:
        InputError: the folder holds no run, or the run cannot be continued with these options.
    """
    record = records.read(folder)
    if record:
        before = record.options_to_repeat(folder)
    elif (written := folder / ".hydra" / "config.yaml").is_file():  # killed before its first record
        from src.config.composition import load_composed

        composed = load_composed(written)
        records.add_former_defaults(composed)
        before = typed(composed)
    else:
        raise InputError(f"resume={folder}: {records.nothing_to_resume(folder)}")
    merged = plain(before)
    for key, value in (replacements or {}).items():
        merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    after = typed(merged)
    if after.schedule == before.schedule:  # a pyramid takes the further steps at full size
        after.schedule.last = last_share(before, after.steps)
    if identity(after) == identity(before):
        return after, folder
    if record is None:
        raise InputError(f"resume={folder}: the run was stopped before it began; resume it with its own options first")
    from src.training.continuation import continue_run

    return after, continue_run(folder, record, after)
