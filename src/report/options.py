"""Options of a run as reports name them: the flattened configuration, with short headings and labels.

An option is known by its dotted name (optimizer.lr).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.common.tables import plain_text
from src.config.identity import NON_IDENTITY_FIELDS, identity
from src.config.schema import plain
from src.tracking.record import RunRecord

TRIAL = "trial"
# The heading of an option's column and filter, and the label of its values, the most interesting options first. All
# other options follow, under their own names.
WORDS = {
    TRIAL: ("trial", "trial {}"),
    "preset": ("preset", "{}"),
    "layers.name": ("layers", "layers {}"),
    "loss.beta": ("loss.beta", "loss.beta={}"),
    "loss.alpha": ("loss.alpha", "loss.alpha={}"),
    "layers.content": ("content layer", "content {}"),
    "layers.weights": ("layer weights", "weights {}"),
    "loss.name": ("loss form", "{} loss"),
    "loss.terms": ("style terms", "{}"),
    "loss.term_weights": ("weights of style terms", "term weights {}"),
    "loss.tv": ("TV weight", "TV {}"),
    "backbone.name": ("backbone", "{}"),
    "backbone.weights": ("weights", "{} weights"),
    "backbone.pool": ("pooling", "{} pooling"),
    "init.name": ("init", "from {}"),
    "optimizer.name": ("optimizer", "{}"),
    "optimizer.lr": ("learning rate", "lr {}"),
    "edge": ("edge", "{} px"),
    "steps": ("steps", "{} steps"),
    "seed": ("seed", "seed {}"),
}
PAIR = ("content", "style")
MASKS = ("content.mask", "style.mask")


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration by dotted names: {"optimizer": {"lr": 1}} as {"optimizer.lr": 1}."""
    found: dict[str, Any] = {}
    for group, value in config.items():
        inner = value if isinstance(value, dict) else {"": value}
        found |= {f"{group}.{name}" if name else group: each for name, each in inner.items()}
    return found


def result_options(record: RunRecord) -> dict[str, Any]:
    """Return every option that a result depends on, except the pair without its masks, in the order of `WORDS`.

    `precision` is the one that was used; a run that ended before it was decided has none. Options that this version
    does not know are included.
    """
    found = flatten(identity(record.options)) | unknown_options(record)
    outside = (*PAIR, *NON_IDENTITY_FIELDS)
    found = {name: value for name, value in found.items() if name in MASKS or name.partition(".")[0] not in outside}
    if record.options.trial is not None:
        found[TRIAL] = record.options.trial
    return in_order(with_precision(found, record.precision))


def unknown_options(record: RunRecord) -> dict[str, Any]:
    """Return the options that this version does not know."""
    known = flatten(plain(record.options))
    return {name: value for name, value in flatten(record.config).items() if name not in known}


def with_precision(options: Mapping[str, Any], precision: str = "auto") -> dict[str, Any]:
    """Return options with `precision=auto` replaced by the one used, and without it where that is unknown."""
    used = precision if options["precision"] == "auto" else options["precision"]
    others = {name: value for name, value in options.items() if name != "precision"}
    return others if used == "auto" else {**others, "precision": used}


def in_order(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in the order of `WORDS`, then of the configuration."""
    return {name: options[name] for name in (*WORDS, *options) if name in options}


def heading(name: str) -> str:
    """Return the heading of an option's column: "learning rate"."""
    return WORDS[name][0] if name in WORDS else name.removesuffix(".name").replace(".", " ").replace("_", " ")


def label_of(name: str, text: str) -> str:
    """Return the label of an option's value, given as text: "lr 0.01"."""
    return WORDS[name][1].format(text) if name in WORDS else f"{heading(name)} {text}"


def written(name: str, value: Any, digits: int = 4) -> str:
    """Return an option's value as text, numbers rounded to some digits."""
    if value and name in ("backbone.weights", *MASKS):
        return plain_text(Path(value).name)  # trained, random, a value, or a path
    if isinstance(value, list) and value:
        return " ".join(written("", each, digits) for each in value)
    return "default" if value in (None, []) else f"{value:.{digits}g}" if type(value) is float else plain_text(value)


def rank(name: str, value: Any) -> tuple[Any, ...]:
    """Return a sort key for an option's values: numbers by value, text by the alphabet."""
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (2, repr(value))
