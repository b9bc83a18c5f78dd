"""The command that repeats a run: the names of its configuration groups, and each value that these do not imply."""

import shlex
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from src.common.errors import InputError
from src.config.grammar import override_value
from src.config.identity import NON_IDENTITY_FIELDS
from src.config.schema import RunConfig, group_names, known_picture, plain
from src.report.options import PAIR, flatten, unknown_options, with_precision
from src.tracking.record import RunRecord

GROUPS = ("layers", "loss", "backbone", "init", "optimizer", "schedule")
# Options whose default in conf/ is another option: a command that sets the one must set the other too.
FOLLOWS = {"loss.content_tap": "layers.content"}


def command(record: RunRecord, told: Collection[str] = ()) -> str | None:
    """Return the shell command that repeats a run, without its trainer and logger; None if `overrides` raises.

    Of a run that continues another one it is the command that continued it.
    """
    if record.continued_from:
        return record.command
    try:
        return shlex.join(["python", "-m", "src.train", *overrides(record, told)])
    except InputError:
        return None


def overrides(record: RunRecord, told: Collection[str] = ()) -> list[str]:
    """Return the Hydra overrides of a run: its pair, other groups, then single values.

    Options that the record lacks, being of an older version, have their defaults.

    Args:
        record: of the run.
        told: dotted names of options to include even where they have their defaults, as those of a sweep.

    Raises:
        InputError: it has options that this version does not know.
    """
    if unknown := unknown_options(record):
        raise InputError(f"this version does not know the options {', '.join(unknown)}")
    config = plain(record.options)
    base = _base(config)
    changes: dict[str, str] = {}
    for key in base:
        if key not in NON_IDENTITY_FIELDS:
            changes |= _changes(key, base[key], config[key])
    for key, follower in FOLLOWS.items():
        if key in changes:
            group, _, leaf = follower.partition(".")
            changes[follower] = f"{follower}={override_value(config[group][leaf])}"
    flat = flatten(config)
    for key in told:
        is_value = key in flat and key not in NON_IDENTITY_FIELDS and not key.endswith(".name")
        if is_value and not isinstance(flat[key], dict):
            changes.setdefault(key, f"{key}={override_value(flat[key])}")
    pair = [f"{kind}={base[kind]['name']}" for kind in PAIR]
    preset = _preset(config)
    start = _groups(_composed(preset))
    chosen = [
        f"{group}={name}" for group, name in _groups(config).items() if name != start[group] or f"{group}.name" in told
    ]
    return [*pair, *preset, *chosen, *changes.values()]


def implied_options(record: RunRecord, options: Mapping[str, Any]) -> frozenset[str]:
    """Return which of a run's options (as `result_options` gives them) follow from its preset or its groups' names."""
    config = plain(record.options)
    by_groups, preset = with_precision(flatten(_base(config))), _preset(config)
    by_preset = with_precision(flatten(_composed(preset))) if preset else {}
    return frozenset(
        name
        for name, value in options.items()
        if (name in by_groups and by_groups[name] == value and not name.endswith(".name"))
        or (name in by_preset and by_preset[name] == value)
        if name != "preset"
    )


def _base(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that the names of a run's images, preset and groups alone compose to."""
    pictures = {kind: _picture(kind, _name(kind, config, "file")) for kind in PAIR}
    groups = (f"{group}={name}" for group, name in _groups(config).items())
    return {**_composed((*_preset(config), *groups)), **pictures}


def _preset(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the override that chooses the preset of a run; none without a preset, or without its file."""
    name = config["preset"]
    return (f"experiment={name}",) if name in group_names("experiment") else ()


def _groups(config: dict[str, Any]) -> dict[str, str]:
    default = plain(RunConfig())
    return {group: _name(group, config, default[group]["name"]) for group in GROUPS}


def _name(group: str, config: dict[str, Any], otherwise: str) -> str:
    """Return the name of a group's file under conf/, or `otherwise` where the name has no file."""
    name = config[group]["name"]
    return name if name in group_names(group) else otherwise


@cache
def _composed(words: tuple[str, ...]) -> dict[str, Any]:
    from src.config.composition import compose

    return plain(compose(words))


@cache
def _picture(kind: str, name: str) -> dict[str, Any]:
    return vars(known_picture(kind, name))


def _changes(key: str, base: Any, wanted: Any) -> dict[str, str]:
    """Return the overrides, by key, that turn the value `base` into `wanted`."""
    if isinstance(base, dict) and isinstance(wanted, dict):
        found = {f"~{key}.{name}": f"~{key}.{name}" for name in base if name not in wanted}
        for name, value in wanted.items():
            if name in base:
                found |= _changes(f"{key}.{name}", base[name], value)
            else:
                found[f"{key}.{name}"] = f"+{key}.{name}={override_value(value)}"
        return found
    return {} if base == wanted and type(base) is type(wanted) else {key: f"{key}={override_value(wanted)}"}
