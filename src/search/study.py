"""A study: trials proposed by Optuna, each a run in a folder of its own, stored in one SQLite file."""

import logging
import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from src.common.errors import SAME_COMMAND, InputError, Interrupted, SweepFailed, first_line
from src.common.files import sole_writer, write_atomically, write_error
from src.common.packages import require
from src.config.identity import differing
from src.run import run
from src.search import space
from src.search.config import SearchConfig, check, specification
from src.search.front import FRONT, Point, format_option, front_csv, front_table
from src.tracking import names as keys
from src.tracking.record import RunRecord

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

DATABASE = "study.sqlite3"
# Both are measured on the finished picture and do not depend on how a trial weights its losses.
OBJECTIVES: dict[str, Literal["minimize", "maximize"]] = {keys.PATCH_DISTANCE: "minimize", keys.SSIM: "maximize"}
MAX_KILLS = 2  # a trial that is killed again may itself be the cause, for example by taking too much memory
# User attributes of a study: SPECIFICATION. Of a trial: ERROR, why its run failed; NUMBER, stored as `place`, which
# names its folder if it continues an earlier trial; KILLS, how often it was killed.
SPECIFICATION, ERROR, NUMBER, KILLS = "specification", "error", "place", "kills"


def search(config: SearchConfig, folder: Path) -> list[Point]:
    """Run trials until the study holds `config.trials`; return its Pareto front, smallest patch distance first.

    A trial whose run fails counts, and the study continues. A trial that was killed or interrupted does not count: the
    next call continues it from its checkpoint, unless it was killed twice. The run of a trial is in the study's
    subfolder `trial-NUMBER`.

    Raises:
        InputError: an option cannot be used, or the folder holds a different study.
        SweepFailed: no trial of the study finished.
        Interrupted: SIGINT or SIGTERM.
    """
    check(config)
    if not (folder / DATABASE).exists():
        space.default_point(config)  # before anything is written
    with sole_writer(folder), _storage(folder / DATABASE) as storage:
        study = _open(storage, config, folder)
        _requeue_killed(study)
        while len(_outcomes(study)) < config.trials:
            _run_trial(study, config, folder)
        outcomes = _outcomes(study)
        if not (points := _front(study, config, folder)):
            raise SweepFailed(f"none of {config.trials} trials finished; the last: {outcomes[-1]}")
        write_atomically(folder / FRONT, front_csv(points).encode())
        log.info("%s", front_table(points))
        log.info("Pareto front: %d of %d finished trials, in %s", len(points), outcomes.count(None), folder / FRONT)
        log.info("report: python -m src.report %s", shlex.quote(str(folder)))
        return points


@contextmanager
def _storage(path: Path) -> Iterator["RDBStorage"]:
    require("a search", "search", {"optuna": "'optuna>=4.2'"})
    import optuna
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.RDBStorage(URL.create("sqlite", database=str(path)).render_as_string())
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (optuna.exceptions.OptunaError, SQLAlchemyError) as error:
        raise InputError(f"{path} cannot be used as the database of a study: {first_line(error)}") from error


def _open(storage: "RDBStorage", config: SearchConfig, folder: Path) -> "Study":
    import optuna

    names = optuna.study.get_all_study_names(storage)  # not the folder's name, which may have changed
    name, directions = names[0] if names else folder.name, list(OBJECTIVES.values())
    study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    wanted = specification(config)
    held = study.user_attrs.get(SPECIFICATION)
    if held is None:
        study.set_user_attr(SPECIFICATION, wanted)
        study.enqueue_trial(space.default_point(config))
    elif differ := differing(wanted, held):
        raise InputError(f"{folder} holds another study (it differs in {differ}); study=NAME starts a new one")
    log.info("%d of %d trials done in %s", len(_outcomes(study)), config.trials, folder)
    return study


def _outcomes(study: "Study") -> list[str | None]:
    """Return the error of each trial that counts, or None if it finished."""
    ended = [trial for trial in study.trials if trial.state.name == "COMPLETE" or ERROR in trial.user_attrs]
    return [trial.user_attrs.get(ERROR) for trial in ended]


def _requeue_killed(study: "Study") -> None:
    """Mark trials that a kill left running as failed, and queue each again under its number."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        kills = trial.user_attrs.get(KILLS, 0) + 1
        if kills < MAX_KILLS:
            _requeue(study, trial, kills)
        else:
            log.warning("trial %d was killed %d times; it will not be run again", _number(trial), kills)


def _requeue(study: "Study", trial: "Trial | FrozenTrial", kills: int) -> None:
    if trial.params:
        study.enqueue_trial(trial.params, user_attrs={NUMBER: _number(trial), KILLS: kills})


def _number(trial: "Trial | FrozenTrial") -> int:
    """Return the number of the trial, or of the trial that it continues."""
    return trial.user_attrs.get(NUMBER, trial.number)


def _folder(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04d}"


def _run_trial(study: "Study", config: SearchConfig, folder: Path) -> None:
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    # one seed per trial: a continued study proposes the same trials as an uninterrupted one
    begun = len({_number(trial) for trial in study.trials})
    study.sampler = TPESampler(seed=(config.seed * 1_000_003 + begun) % 2**32)
    trial = study.ask()
    point = {name: trial.suggest_float(name, *bounds, log=True) for name, bounds in space.ranges(config).items()}
    number, found = _number(trial), space.options(config, point)
    words = " ".join(f"{name}={format_option(value)}" for name, value in found.items())
    log.info("[%d/%d] trial %d: %s", len(_outcomes(study)) + 1, config.trials, number, words)
    try:
        with _trial_log(_folder(folder, number)):
            record = run(space.trial_run(config, found, folder.name, number), _folder(folder, number))
        values = _objectives(record)
    except BaseException as error:
        # bad input before any trial has finished would fail all of them: stop, and run this one again next time
        hopeless = isinstance(error, InputError) and None not in _outcomes(study)
        counts = isinstance(error, Exception) and not hopeless
        if counts:
            trial.set_user_attr(ERROR, first_line(error))
            log.error("trial %d failed: %s", number, first_line(error))
        study.tell(trial, state=TrialState.FAIL)
        if counts:
            return
        _requeue(study, trial, trial.user_attrs.get(KILLS, 0))
        if isinstance(error, Interrupted):
            raise Interrupted(error.signal_number, SAME_COMMAND) from None
        raise
    study.tell(trial, values)


def _objectives(record: RunRecord) -> list[float]:
    values = [getattr(record, key) for key in OBJECTIVES]
    if not all(value is not None and math.isfinite(value) for value in values):
        raise ValueError(f"{', '.join(OBJECTIVES)} are not finite numbers: {values}")
    return values


@contextmanager
def _trial_log(folder: Path) -> Iterator[None]:
    """Copy the log to `train.log` in the folder of a trial, as Hydra does for every other run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / "train.log")
    except OSError as error:
        raise write_error(folder / "train.log", error) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def _front(study: "Study", config: SearchConfig, folder: Path) -> list[Point]:
    points = []
    for trial in study.best_trials:
        number, values = _number(trial), dict(zip(OBJECTIVES, trial.values, strict=True))
        points.append(Point(number, _folder(folder, number), space.options(config, trial.params), values))
    return sorted(points, key=lambda point: list(point.objectives.values()))
