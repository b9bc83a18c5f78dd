"""The command that makes a run again: the names of its options, and each value that they do not say."""

import re
import shlex
from functools import cache
from typing import Any

from src.config.identity import NON_IDENTITY_FIELDS
from src.config.schema import RunConfig, group_names, plain, typed
from src.tracking.record import RunRecord

PICTURES = ("content", "style")
GROUPS = ("layers", "loss", "backbone", "init", "optimizer", "schedule")
# What conf/ takes from another option: to say the one is not to leave the other.
FOLLOWS = {"loss.content_tap": "layers.content"}
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_OTHERWISE = re.compile(r"null|true|false|yes|no|on|off|nan|inf", re.IGNORECASE)


def command(record: RunRecord) -> str:
    """Return the command of a run, for a shell. Where it runs and who watches is left to its reader.

    Raises:
        InputError: the configuration has options that this version does not know.
    """
    return shlex.join(["python", "-m", "src.train", *overrides(record)])


def overrides(record: RunRecord) -> list[str]:
    """Return what Hydra is told of a run: two pictures, other groups of options, single values; raises as `command`."""
    config, default = _whole(record.config), _default()
    pictures = {kind: _name(kind, config, "file") for kind in PICTURES}
    groups = {group: _name(group, config, default[group]["name"]) for group in GROUPS}
    said = {group: name for group, name in groups.items() if name != default[group]["name"]}
    base = {**_composed(tuple(f"{group}={name}" for group, name in groups.items()))}
    base |= {kind: _picture(kind, name) for kind, name in pictures.items()}
    changes: dict[str, str] = {}
    for key in base:
        if key not in NON_IDENTITY_FIELDS:
            changes |= _changes(key, base[key], config[key])
    for key, follower in FOLLOWS.items():
        if key in changes:
            group, _, leaf = follower.partition(".")
            changes[follower] = f"{follower}={_value(config[group][leaf])}"
    return [*(f"{group}={name}" for group, name in (pictures | said).items()), *changes.values()]


@cache
def _default() -> dict[str, Any]:
    return plain(RunConfig())


def _whole(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with all options; those that its version did not know are at their defaults.

    Only one with others than these is checked, which takes long; raises as `command`.
    """
    known, whole = _default(), {**_default(), **config}
    for name, part in whole.items():
        default = known.get(name)
        if isinstance(part, dict) and isinstance(default, dict) and part.keys() <= default.keys():
            whole[name] = default | part
        elif isinstance(part, dict) or isinstance(default, dict):
            return plain(typed(config))
    return whole if whole.keys() == known.keys() else plain(typed(config))


@cache
def _composed(words: tuple[str, ...]) -> dict[str, Any]:
    from src.config.composition import compose

    return plain(compose(words))


@cache
def _picture(kind: str, name: str) -> dict[str, Any]:
    from src.config.composition import known_picture

    return vars(known_picture(kind, name))


def _name(group: str, config: dict[str, Any], otherwise: str) -> str:
    """Return the name in conf/ of a part of a configuration; the other one where it has none there."""
    name = config[group]["name"]
    return name if name in group_names(group) else otherwise


def _changes(key: str, base: Any, wanted: Any) -> dict[str, str]:
    """Return the overrides, by key, that make one value of another."""
    if isinstance(base, dict) and isinstance(wanted, dict):
        found = {f"~{key}.{name}": f"~{key}.{name}" for name in base if name not in wanted}
        for name, value in wanted.items():
            if name in base:
                found |= _changes(f"{key}.{name}", base[name], value)
            else:
                found[f"{key}.{name}"] = f"+{key}.{name}={_value(value)}"
        return found
    return {} if base == wanted and type(base) is type(wanted) else {key: f"{key}={_value(wanted)}"}


def _value(value: Any) -> str:
    """Return a value in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_value, value))}]"
    if not isinstance(value, str):
        return repr(value)
    if _PLAIN.fullmatch(value) and not _OTHERWISE.fullmatch(value):
        return value
    # In quotes only a quote, and backslashes before one, are escaped.
    quoted = re.sub(r"(\\*)(\"|$)", lambda found: 2 * found[1] + (r"\"" if found[2] else ""), value)
    return f'"{quoted}"'
