"""A study: trials that Optuna chooses and is told the outcome of, each a run of its own, kept in one SQLite file."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from src.common.errors import InputError, Interrupted, SweepFailed, first_line
from src.common.files import sole_writer, write_atomically
from src.run import run
from src.search import space
from src.search.config import SearchConfig, check, specification
from src.search.front import FRONT, Point, front_csv, front_table, shown
from src.tracking import names as keys
from src.tracking.record import RunRecord

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

DATABASE = "study.sqlite3"
# Measured of the pictures themselves: the same yardstick whatever a trial's objective weighs.
AIMS: dict[str, Literal["minimize", "maximize"]] = {keys.PATCH_DISTANCE: "minimize", keys.SSIM: "maximize"}
# Noted with a trial: why its run failed, of itself and not by a kill; the number in whose folder it goes on; kills.
ERROR, PLACE, KILLS = "error", "place", "kills"
MOST_KILLS = 2  # what is killed again may be what kills: too large for the memory, say
SPECIFICATION = "specification"


def search(config: SearchConfig, folder: Path) -> list[Point]:
    """Run trials until the study holds as many as it shall; return its front, the nearest to the style first.

    A trial whose run fails counts, and the study goes on. One that was killed or interrupted does not: it goes on,
    from its checkpoint, when the study does.

    Args:
        config: the search.
        folder: of the study; one that is there already goes on. A trial's run is in `trial-NUMBER` in it.

    Raises:
        InputError: something given cannot be used, or the folder holds another study.
        SweepFailed: no trial of the study finished.
        Interrupted: SIGINT or SIGTERM.
    """
    check(config)
    with sole_writer(folder), _storage(folder / DATABASE) as storage:
        study = _open(storage, config, folder)
        _take_up(study)
        while len(_counted(study)) < config.trials:
            _run_trial(study, config, folder)
        if not (points := _front(study, config, folder)):
            raise SweepFailed(f"none of {config.trials} trials finished; the last: {_counted(study)[-1]}")
        write_atomically(folder / FRONT, front_csv(points).encode())
        finished = sum(error is None for error in _counted(study))
        log.info("%s", front_table(points))
        log.info("%d of %d trials have none that is better in one and as good in the other: %s",
                 len(points), finished, folder / FRONT)  # fmt: skip
        return points


@contextmanager
def _storage(path: Path) -> Iterator["RDBStorage"]:
    try:
        import optuna
        from sqlalchemy import URL
        from sqlalchemy.exc import SQLAlchemyError
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed, and a search needs it: pip install 'optuna>=4'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.RDBStorage(URL.create("sqlite", database=str(path)).render_as_string())
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (optuna.exceptions.OptunaError, SQLAlchemyError) as error:
        raise InputError(f"{path} cannot be used as the file of a study: {first_line(error)}") from error


def _open(storage: "RDBStorage", config: SearchConfig, folder: Path) -> "Study":
    import optuna

    names = optuna.study.get_all_study_names(storage)  # the folder may have been renamed since
    study = optuna.create_study(
        storage=storage,
        study_name=names[0] if names else folder.name,
        directions=list(AIMS.values()),
        load_if_exists=True,
    )
    wanted = specification(config)
    held = study.user_attrs.get(SPECIFICATION)
    if held is None:
        study.set_user_attr(SPECIFICATION, wanted)
        if (given := space.as_given(config)) is not None:
            study.enqueue_trial(given)
    elif held != wanted:
        differing = sorted(key for key in wanted if wanted[key] != held.get(key))
        raise InputError(
            f"{folder} holds another study (it differs in {', '.join(differing)}); study=NAME begins one of its own"
        )
    log.info("%d of %d trials done in %s", len(_counted(study)), config.trials, folder)
    return study


def _counted(study: "Study") -> list[str | None]:
    """Return, for each trial that came to an end of its own, why its run failed; None where it did not."""
    ended = [trial for trial in study.trials if trial.state.name == "COMPLETE" or ERROR in trial.user_attrs]
    return [trial.user_attrs.get(ERROR) for trial in ended]


def _take_up(study: "Study") -> None:
    """Mark trials that a kill left running as failed, and let them go on as new ones."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        kills = trial.user_attrs.get(KILLS, 0) + 1
        if kills < MOST_KILLS:
            _put_back(study, trial, kills)
        else:
            log.warning("trial %d was killed %d times and is given up", _place(trial), kills)


def _put_back(study: "Study", trial: "Trial | FrozenTrial", kills: int) -> None:
    if trial.params:
        study.enqueue_trial(trial.params, user_attrs={PLACE: _place(trial), KILLS: kills})


def _place(trial: "Trial | FrozenTrial") -> int:
    return trial.user_attrs.get(PLACE, trial.number)


def _folder(folder: Path, place: int) -> Path:
    return folder / f"trial-{place:04d}"


def _run_trial(study: "Study", config: SearchConfig, folder: Path) -> None:
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    # a seed for each trial: a study that goes on chooses as one that was never stopped
    study.sampler = TPESampler(seed=(config.seed * 1_000_003 + len(study.trials)) % 2**32)
    trial = study.ask()
    choice = {name: trial.suggest_float(name, *bounds, log=True) for name, bounds in space.ranges(config).items()}
    place, found = _place(trial), space.options(config, choice)
    words = " ".join(f"{name}={shown(value)}" for name, value in found.items())
    log.info("[%d/%d] trial %d: %s", len(_counted(study)) + 1, config.trials, place, words)
    try:
        with _log_in(_folder(folder, place)):
            record = run(space.trial_run(config, found, folder.name, place), _folder(folder, place))
        aims = _aims(record)
    except Exception as error:
        # what is no good in all of them, like a file that is missing, is no outcome of this one
        hopeless = isinstance(error, InputError) and None not in _counted(study)
        if not hopeless:
            trial.set_user_attr(ERROR, first_line(error))
            log.error("trial %d failed: %s", place, first_line(error))
        study.tell(trial, state=TrialState.FAIL)
        if hopeless:
            _put_back(study, trial, trial.user_attrs.get(KILLS, 0))
            raise
    except BaseException as stop:
        study.tell(trial, state=TrialState.FAIL)
        _put_back(study, trial, trial.user_attrs.get(KILLS, 0))
        if isinstance(stop, Interrupted):
            raise Interrupted(stop.signal_number, "the same command") from None
        raise
    else:
        study.tell(trial, aims)


def _aims(record: RunRecord) -> list[float]:
    values = [getattr(record, key) for key in AIMS]
    if not all(value is not None and math.isfinite(value) for value in values):
        raise ValueError(f"{', '.join(AIMS)} are not finite numbers: {values}")
    return values


@contextmanager
def _log_in(folder: Path) -> Iterator[None]:
    """Keep a log in the folder of a trial, as every run has one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / "train.log")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def _front(study: "Study", config: SearchConfig, folder: Path) -> list[Point]:
    points = [
        Point(
            _place(trial),
            _folder(folder, _place(trial)),
            space.options(config, trial.params),
            dict(zip(AIMS, trial.values, strict=True)),
        )
        for trial in study.best_trials
    ]
    return sorted(points, key=lambda point: list(point.aims.values()))
