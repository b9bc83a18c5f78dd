"""How an option of the program is declared: a field of a dataclass with its default and its help."""

import dataclasses
from typing import Any


def option(default: Any, help: str) -> Any:
    """Declare a field with its help text; a mutable default is copied for each instance."""
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata={"help": help})
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata={"help": help})
    return dataclasses.field(default=default, metadata={"help": help})
