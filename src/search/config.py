"""The options of `python -m src.search`: those of a run, and between which values to look."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from src.common.errors import InputError
from src.config.identity import identity, named
from src.config.options import option
from src.config.schema import RunConfig
from src.config.validation import check_ranges, validate


@dataclass
class Space:
    """Lowest and highest value of what is searched, on a logarithmic scale; null leaves an option as it is."""

    alpha: list[float] | None = option(
        [0.3, 3.0], "loss.alpha, lowest and highest (while loss.tv=0 only its ratio to loss.beta matters); null: fixed"
    )
    beta: list[float] | None = option([1.0, 100.0], "loss.beta, likewise")
    weights: list[float] | None = option(
        [0.1, 10.0], "layers.weights, likewise: factors of each tap's weight; the sum of the weights stays"
    )
    lr: list[float] | None = option([0.003, 0.03], "optimizer.lr, likewise")


@dataclass
class SearchConfig(RunConfig):
    """A study: a run to start from, what of it is varied, and how often."""

    trials: int = option(20, "runs that the study shall hold, finished or failed; the same command with more adds some")
    space: Space = option(Space, "what is searched")
    study: str | None = option(None, "name of the study and of its folder; default: CONTENT-STYLE-LAYERS-DIGEST")


def own_options() -> list[str]:
    """Return the names of the options that a run has not, or that mean something else in it."""
    known = {field.name for field in dataclasses.fields(RunConfig)} - {"study"}
    return [field.name for field in dataclasses.fields(SearchConfig) if field.name not in known]


def base_run(config: SearchConfig) -> RunConfig:
    """Return the run that a study starts from."""
    names = [field.name for field in dataclasses.fields(RunConfig)]
    return RunConfig(**{name: getattr(config, name) for name in names})


def specification(config: SearchConfig) -> dict[str, Any]:
    """Return what makes two studies the same study: the run they start from and the space, not how many trials."""
    return {**identity(base_run(config)), "space": dataclasses.asdict(config.space)}


def study_name(config: SearchConfig) -> str:
    """Return the name of a study: the one given, or one that is the same for the same study."""
    return named(config, specification(config)) if config.study is None else config.study


def check(config: SearchConfig) -> None:
    """Check a search, and the run it starts from.

    Raises:
        InputError: with the bad value and the right ones.
    """
    if config.resume is not None or config.trial is not None:
        raise InputError("a search goes on by itself when the same command is given again: no resume=, no trial=")
    if config.study is not None and (not config.study.strip(" .") or "/" in config.study):
        raise InputError(f"study={config.study!r}: the name of a folder is needed, without /")
    check_ranges(config, ("trials",), ())
    ranges = {name: bounds for name, bounds in vars(config.space).items() if bounds is not None}
    if not ranges:
        raise InputError("space: every range is null, so there is nothing to search; space.beta=[1,100] has one")
    for name, bounds in ranges.items():
        if len(bounds) != 2 or not 0 < bounds[0] < bounds[1] < math.inf:
            raise InputError(f"space.{name} takes a lowest and a highest value above 0, as in [0.1,10], not {bounds}")
    validate(base_run(config))
