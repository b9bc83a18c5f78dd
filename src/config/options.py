"""Declare options: fields of a dataclass with a default and a help text."""

import dataclasses
import difflib
from collections.abc import Iterable, Iterator
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
    return [*group_options(schema), *(name for name, _ in options_of(schema))]


def group_options(schema: type) -> list[str]:
    """Return the names of the groups of a schema."""
    return [field.name for field in dataclasses.fields(schema) if dataclasses.is_dataclass(field.type)]


def unknown_option(name: str, schema: type) -> str:
    """Return the message for an option that a schema does not have, with the names that may be meant.

    These are options of a group with this name (optimizer.lr for lr), else similar names, else those whose help has
    its words (learning_rate).
    """
    names, words = option_names(schema), name.replace("_", " ").lower()
    meant = [each for each in names if each.rpartition(".")[2] == name]
    meant = meant or difflib.get_close_matches(name, names, n=3, cutoff=0.7)
    meant = meant or [each for each, field in options_of(schema) if words in field.metadata["help"].lower()]
    hint = f"did you mean {' or '.join(meant[:3])}? " if meant else ""
    if inside := [each for each in names if "." in name and each.startswith(name.partition(".")[0] + ".")]:
        return f"there is no option {name}; {hint}the options: {', '.join(inside)}"
    if not meant:
        hint = f"the options: {', '.join(each for each in names if '.' not in each)}; "
    return f"there is no option {name}; {hint}--help has all of them"


def unknown_member(name: str, members: Iterable[object]) -> str:
    """Return the message for an option, by its dotted name, that its group does not have among its members."""
    group = name.rpartition(".")[0]
    names = [f"{group}.{each}" for each in members if not str(each).startswith("_")]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}? " if near else ""
    known = f"the options: {', '.join(names)}" if names else "the group has none"
    return f"there is no option {name}; {hint}{known}"


def several_values(name: str, values: str, schema: type) -> str:
    """Return the message for an option that was given several values, A,B or [A,B], where a run takes one."""
    lists = [each for each, field in options_of(schema) if "list" in str(field.type)]
    told = f"{name.removesuffix('.path')} has several values ({values}): write -m {name}=A,B to sweep them"
    if name == "style":
        told += ", or blend.styles=[B] to mix them"
    return told + (f", or {name}=[A,B] for a list" if name in lists else "")


def unknown_value(name: str, value: object, known: Iterable[object]) -> str:
    """Return the message for an option that has none of its known values."""
    names = [*map(str, known)]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name}={value} is unknown; {hint}one of: {', '.join(names)}"
