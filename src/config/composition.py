"""Compose a configuration from the files under conf/, as the command line does."""

import dataclasses
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.common.errors import InputError
from src.config.options import several_values, unknown_member, unknown_option, unknown_value
from src.config.schema import CONF, RunConfig, group_names, typed, wrong_type


@cache
def register(name: str = "train", schema: type = RunConfig) -> None:
    """Make the schema of conf/NAME.yaml known to Hydra as NAME_schema; may be called again."""
    ConfigStore.instance().store(name=f"{name}_schema", node=schema)


def compose(overrides: Sequence[str] = (), config_name: str = "train") -> RunConfig:
    """Return the configuration that `python -m src.train OVERRIDES...` would use.

    Raises:
        InputError: a name or value that the configuration does not know.
    """
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            return typed(hydra_compose(config_name, overrides=list(overrides)))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise InputError(explain_composition(error)) from error


def load_composed(path: Path) -> dict[str, Any]:
    """Return the configuration that Hydra saved as `.hydra/config.yaml`, as plain dicts and lists.

    Raises:
        InputError: it cannot be read, or is not a YAML file of options.
    """
    try:
        options = OmegaConf.to_container(OmegaConf.create(path.read_text()), resolve=True)
    except (OSError, UnicodeError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise InputError(f"cannot use the configuration {path}: {reason}") from None
    if not isinstance(options, dict) or not options:
        raise InputError(f"cannot use the configuration {path}: it holds no options")
    return {str(name): value for name, value in options.items()}


def run_options(composed: DictConfig, schema: type = RunConfig) -> Any:
    """Return the options of a schema out of what Hydra composed, which holds Hydra's own options as well.

    Raises:
        InputError: as `typed`.
    """
    return typed(OmegaConf.masked_copy(composed, [field.name for field in dataclasses.fields(schema)]), schema)


def explain_composition(error: BaseException, schema: type = RunConfig) -> str:
    """Return the message for an error of Hydra or OmegaConf: the wrong name or value, and the right ones."""
    text = str(error)
    cause = error.__cause__ or error.__context__
    while cause is not None:  # a resolver of ours or a launcher raised it
        if isinstance(cause, InputError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    if found := re.match(r"Could not override '([^']+)'", text):
        parent = getattr(error.__cause__, "parent_node", None)
        if found[1].startswith("hydra.") and parent is not None:  # of the launcher that was chosen, for one
            return unknown_member(str(getattr(error.__cause__, "full_key", found[1])), parent)
        return unknown_option(found[1], schema)
    if found := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, name = found[1].rpartition("/")
        return unknown_value(group, name, group_names(group))
    if found := re.match(r"Ambiguous value for argument '([^=']+)=(.*)'", text):
        return several_values(found[1], found[2], schema)
    if text.startswith("Config group override must be"):
        return "null is not the name of a file; write GROUP=NAME, such as content=cat, or leave the group out"
    if found := re.match(r"Error merging override (.*)", text):
        return f"{found[1]}: {wrong_type(str(error.__cause__))}"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} cannot be read; values with spaces, commas, = or brackets are quoted twice: "
            "'content.path=\"my photo, 1.jpg\"'"
        )
    return text.splitlines()[0]
