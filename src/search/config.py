"""Options of `python -m src.search`: those of a run, and the ranges to search."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from src.common.errors import InputError
from src.config.identity import identity, named
from src.config.options import option
from src.config.schema import RunConfig, run_part
from src.config.validation import check_ranges
from src.transfer.checks import check_options


@dataclass
class Space:
    """Lowest and highest value of each searched option, on a logarithmic scale; null keeps the option fixed."""

    beta: list[float] | None = option([1.0, 100.0], "lowest and highest loss.beta; loss.alpha stays fixed")
    weights: list[float] | None = option(
        [0.1, 10.0], "lowest and highest factor on the weight of each style layer; the sum of the weights stays fixed"
    )
    lr: list[float] | None = option([0.003, 0.03], "lowest and highest optimizer.lr")


@dataclass
class SearchConfig(RunConfig):
    """A study: the run it starts from, what it varies, and the number of trials."""

    trials: int = option(20, "trials in the study, finished or failed; repeat the command with more to add some")
    space: Space = option(Space, "ranges to search")
    study: str | None = option(None, "name of the study and of its folder; default: CONTENT-STYLE-LAYERS-DIGEST")


SEARCH_OPTIONS = ("trials", "space", "study")


def specification(config: SearchConfig) -> dict[str, Any]:
    """Return what identifies a study: its run and its ranges, but not the number of trials."""
    return {**identity(run_part(config)), "space": dataclasses.asdict(config.space)}


def study_name(config: SearchConfig) -> str:
    """Return the given name of a study, or one derived from its specification."""
    return named(config, specification(config)) if config.study is None else config.study


def check(config: SearchConfig) -> None:
    """Check the options of a search and of the run it starts from.

    Raises:
        InputError: names the bad value and what would be right.
    """
    if config.resume is not None or config.trial is not None:
        raise InputError("a search takes no resume= and no trial=; repeat the same command to continue it")
    if config.study is not None and (not config.study.strip(" .") or "/" in config.study):
        raise InputError(f"study={config.study!r}: give the name of a folder, without /")
    check_ranges(config, ("trials",), ())
    ranges = {name: bounds for name, bounds in vars(config.space).items() if bounds is not None}
    if not ranges.keys() - ({"weights"} if len(config.layers.style) == 1 else set()):
        raise InputError("space: there is nothing to search; set a range, as in space.beta=[1,100]")
    for name, bounds in ranges.items():
        if len(bounds) != 2 or not 0 < bounds[0] < bounds[1] < math.inf:
            raise InputError(f"space.{name} takes a lowest and a highest value above 0, as in [0.1,10], not {bounds}")
    check_options(run_part(config))
