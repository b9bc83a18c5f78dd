"""Continue a run beyond its last step, in a folder of its own that begins with the state of the other."""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

from src.common.errors import InputError
from src.common.files import is_locked, sole_writer, write_error
from src.config.identity import EXTENDED_FIELDS, identity
from src.config.schedule import capture_steps, last_share, stages
from src.config.schema import RunConfig, result_file
from src.config.validation import validate
from src.data.sources import find_files
from src.tracking.names import METRICS
from src.tracking.record import FILE, RunRecord
from src.training import checkpoints
from src.training.checkpoints import CHECKPOINT
from src.training.context import new_record
from src.training.setup import check_same

# What a record holds of the state that the run goes on from; results of the earlier end are left out.
CARRIED = (
    *("precision", "kernels", "step", "evaluations", "width", "height", "initial_loss", "seconds", "compiled"),
    *("memory", "content_sha256", "style_sha256", "init_sha256", "further_sha256", "weights_sha256"),
)


def continue_run(folder: Path, record: RunRecord, config: RunConfig) -> Path:
    """Create the folder of a run that goes on from the last checkpoint of another with more steps; return it.

    Image, optimiser state, counters, curve and scheduled captures are copied; `folder` stays as it is. A folder that
    was created before is returned as it is.

    Args:
        folder: of the earlier run.
        record: of the earlier run.
        config: its options, of which those of `EXTENDED_FIELDS` may differ; `schedule.last` is that of `last_share`.

    Raises:
        InputError: the run cannot be continued; the message says what to do instead.
    """
    target = folder.with_name(f"{folder.name}-to-{config.steps}")
    if (target / FILE).exists():
        return target
    step = _check(folder, record, config)
    new = new_record(config)
    for name in CARRIED:
        setattr(new, name, getattr(record, name))
    new.status, new.continued_from, new.continued_step = "interrupted", str(folder), step
    assert new.command
    new.command = new.command.replace("resume=last", f"resume={shlex.quote(str(folder))}")  # another one may be last
    new.captures = list(record.captures)
    new.forget_after(step, capture_steps(config.captures, config.steps))
    try:
        with sole_writer(target):
            for file in (CHECKPOINT, METRICS, *(capture.file for capture in new.captures)):
                if (folder / file).exists():
                    (target / file).parent.mkdir(exist_ok=True)
                    shutil.copyfile(folder / file, target / file)
    except OSError as error:
        raise write_error(target, error) from error
    new.write(target)  # last: without it the folder is no run
    return target


def _check(folder: Path, record: RunRecord, config: RunConfig) -> int:
    """Return the step that the run goes on from."""
    validate(config)
    old, picture = record.options, f"init=file init.path={folder / result_file(record.options)}"
    expected = replace(old, schedule=replace(old.schedule, last=last_share(old, config.steps)))
    before, after = identity(expected), identity(config)
    if other := [name for name in after if name not in EXTENDED_FIELDS and before[name] != after[name]]:
        raise InputError(f"{', '.join(other)} cannot change in a run; to start from its picture, give {picture}")
    if is_locked(folder):
        raise InputError(f"another process is using {folder}; wait for it to finish or stop it")
    if record.status == "failed":
        raise InputError(f"{folder} failed ({record.error}); finish it first with resume={folder}")
    checkpoint = checkpoints.read(folder)
    if checkpoint is None:
        raise InputError(f"{folder} has no {CHECKPOINT} to go on from; to start from its picture, give {picture}")
    step = checkpoint["step"]
    if config.steps <= step:
        raise InputError(
            f"steps={config.steps} is the total, and the run is already at step {step}; give a larger number"
        )
    if config.canvas.turns > 1:
        raise InputError(
            f"canvas.turns={config.canvas.turns}: with steps={config.steps} each camera set would have taken other "
            f"steps; to start from the picture, give {picture}"
        )
    if [(each.edge, each.first) for each in stages(old)] != [(each.edge, each.first) for each in stages(config)]:
        raise InputError(
            f"schedule=pyramid: with steps={config.steps} the smaller sizes would have taken other steps; to start "
            f"from the picture at full size, give {picture} schedule=single"
        )
    if record.stopped == "loss reached" and config.stop_at_loss == old.stop_at_loss:
        raise InputError(f"the run stopped at stop_at_loss={old.stop_at_loss}; give stop_at_loss=null or less as well")
    for kind, found in find_files(config).items():
        check_same(f"{kind} image {found.path}", record.checksum(kind), found.sha256)
    return step
