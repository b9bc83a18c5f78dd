"""The search space: which options a trial varies, and the run that a point of the space stands for."""

import dataclasses
from typing import Any

from src.common.errors import InputError
from src.config.schema import RunConfig, run_part
from src.search.config import SearchConfig

# Options searched directly, by the name of their range. loss.alpha is fixed: with Adam and without total variation,
# only its ratio to loss.beta matters.
OPTIONS = {"beta": "loss.beta", "lr": "optimizer.lr"}
WEIGHTS = "layers.weights"


def ranges(config: SearchConfig) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest value of each parameter: an option, or the factor of one style tap's weight."""
    found = {option: getattr(config.space, name) for name, option in OPTIONS.items()}
    if len(config.layers.style) > 1:  # the sum of the weights is fixed, which leaves a single one nothing to vary
        found |= {_factor(tap): config.space.weights for tap in config.layers.style}
    return {name: (bounds[0], bounds[1]) for name, bounds in found.items() if bounds is not None}


def default_point(config: SearchConfig) -> dict[str, float]:
    """Return the point of the configuration as given.

    Raises:
        InputError: it lies outside a range.
    """
    given = {"loss.beta": config.loss.beta, "optimizer.lr": config.optimizer.lr}
    point: dict[str, float] = {}
    for name, (low, high) in ranges(config).items():
        point[name] = given.get(name, 1.0)
        if not low <= point[name] <= high:
            field = next((field for field, option in OPTIONS.items() if option == name), "weights")
            raise InputError(
                f"{name}={point[name]:g} is outside space.{field}=[{low:g},{high:g}]; give another range, or "
                f"space.{field}=null to keep the option fixed"
            )
    return point


def options(config: SearchConfig, point: dict[str, float]) -> dict[str, Any]:
    """Return the options of a run at a point of the space.

    The factors move weight between the style taps and keep its sum, since loss.beta already scales all of them.
    """
    found: dict[str, Any] = {name: value for name, value in point.items() if name in OPTIONS.values()}
    if len(found) < len(point):
        from src.transfer.objective import style_weights

        given = list(style_weights(config).values())
        scaled = [weight * point[_factor(tap)] for weight, tap in zip(given, config.layers.style, strict=True)]
        found[WEIGHTS] = [weight * sum(given) / sum(scaled) for weight in scaled]
    return found


def trial_run(config: SearchConfig, found: dict[str, Any], study: str, trial: int) -> RunConfig:
    """Return the configuration of a trial's run, given its options."""
    groups: dict[str, Any] = {}
    for option, value in found.items():
        group, _, field = option.partition(".")
        groups[group] = dataclasses.replace(groups.get(group, getattr(config, group)), **{field: value})
    return dataclasses.replace(run_part(config), **groups, study=study, trial=trial)


def _factor(tap: str) -> str:
    return f"{WEIGHTS}/{tap}"
