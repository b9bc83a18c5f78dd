"""What a trial may choose, and the run that a choice stands for."""

import dataclasses
from typing import Any

from src.config.schema import RunConfig
from src.search.config import SearchConfig, base_run

# Options that are searched as they are, by the names of their ranges.
OPTIONS = {"alpha": "loss.alpha", "beta": "loss.beta", "lr": "optimizer.lr"}
WEIGHTS = "layers.weights"


def ranges(config: SearchConfig) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest value of each choice, by name: an option, or a factor of a tap's weight."""
    found = {option: getattr(config.space, name) for name, option in OPTIONS.items()}
    if len(config.layers.style) > 1:  # the only one's weight is that of the sum, which stays
        found |= {_factor(tap): config.space.weights for tap in config.layers.style}
    return {name: (bounds[0], bounds[1]) for name, bounds in found.items() if bounds is not None}


def as_given(config: SearchConfig) -> dict[str, float] | None:
    """Return the choice that is the configuration as it is; None where a range leaves it out."""
    given = {"loss.alpha": config.loss.alpha, "loss.beta": config.loss.beta, "optimizer.lr": config.optimizer.lr}
    found = {name: given.get(name, 1.0) for name in ranges(config)}
    inside = all(low <= found[name] <= high for name, (low, high) in ranges(config).items())
    return found if inside else None


def options(config: SearchConfig, choice: dict[str, float]) -> dict[str, Any]:
    """Return the options that a choice stands for.

    The factors shift the weights between the taps, not their sum: how much there is of the style is beta's to say.
    """
    from src.transfer.objective import Taps

    found: dict[str, Any] = {name: value for name, value in choice.items() if name in OPTIONS.values()}
    if len(found) < len(choice):
        before = list(Taps.of(config).style.values())
        factors = [choice[_factor(tap)] for tap in config.layers.style]
        after = [weight * factor for weight, factor in zip(before, factors, strict=True)]
        found[WEIGHTS] = [weight * sum(before) / sum(after) for weight in after]
    return found


def trial_run(config: SearchConfig, found: dict[str, Any], study: str, trial: int) -> RunConfig:
    """Return the configuration of a trial's run."""
    parts: dict[str, Any] = {}
    for option, value in found.items():
        group, _, field = option.partition(".")
        parts[group] = dataclasses.replace(parts.get(group, getattr(config, group)), **{field: value})
    return dataclasses.replace(base_run(config), **parts, study=study, trial=trial)


def _factor(tap: str) -> str:
    return f"{WEIGHTS}/{tap}"
