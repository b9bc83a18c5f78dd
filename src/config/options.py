"""Declare options: fields of a dataclass with a default and a help text."""

import dataclasses
import difflib
from collections.abc import Iterator
from typing import Any


def option(default: Any, help: str) -> Any:
    """Declare a field with its help text; a mutable default is copied for each instance."""
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata={"help": help})
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata={"help": help})
    return dataclasses.field(default=default, metadata={"help": help})


def options_of(schema: type) -> Iterator[tuple[str, dataclasses.Field]]:
    """Yield the dotted name and the field of every option of a schema; the name of a group is chosen by GROUP=NAME."""
    for field in dataclasses.fields(schema):
        if not dataclasses.is_dataclass(field.type):
            yield field.name, field
            continue
        for nested in dataclasses.fields(field.type):
            if nested.name != "name":
                yield f"{field.name}.{nested.name}", nested


def option_names(schema: type) -> list[str]:
    """Return the names of all groups and options of a schema."""
    groups = [field.name for field in dataclasses.fields(schema) if dataclasses.is_dataclass(field.type)]
    return [*groups, *(name for name, _ in options_of(schema))]


def unknown_option(name: str, schema: type) -> str:
    """Return the message for an option that a schema does not have: similar names, and all names of its group."""
    names = option_names(schema)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.7)
    inside = [each for each in names if each.startswith(name.partition(".")[0] + ".")] if "." in name else []
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no option {name}; {hint}the options: {', '.join(inside or names)}"
