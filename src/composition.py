"""Composing a configuration from the files under conf/, as the command line does."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config import RunConfig, run_name, typed
from src.errors import InputError

CONF = Path(__file__).resolve().parent.parent / "conf"


def register() -> None:
    """Make the schema and the resolvers of conf/ known to Hydra; may be called again."""
    ConfigStore.instance().store(name="schema", node=RunConfig)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("options", options_help, replace=True)


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
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(str(error)) from error


def run_folder(*, _root_: DictConfig) -> str:
    """Resolve `${run_folder:}`: the name of the run that the surrounding configuration describes."""
    fields = [field.name for field in dataclasses.fields(RunConfig)]
    return run_name(typed(OmegaConf.masked_copy(_root_, fields)))


def _options() -> Iterator[tuple[str, dataclasses.Field]]:
    for field in dataclasses.fields(RunConfig):
        if not dataclasses.is_dataclass(field.type):
            yield field.name, field
            continue
        for nested in dataclasses.fields(field.type):
            if nested.name != "name":  # chosen by the group: GROUP=NAME
                yield f"{field.name}.{nested.name}", nested


def option_names() -> list[str]:
    """Return the names of all options and groups."""
    groups = [field.name for field in dataclasses.fields(RunConfig) if dataclasses.is_dataclass(field.type)]
    return [*groups, *(name for name, _ in _options())]


def options_help() -> str:
    """Resolve `${options:}`: every option with its default and meaning, for `--help`."""
    return "\n".join(f"  {f'{name}={_default(field)}':<36} {field.metadata['help']}" for name, field in _options())


def _default(field: dataclasses.Field) -> str:
    missing = field.default is dataclasses.MISSING
    value = field.default_factory() if missing else field.default  # type: ignore[operator]
    return "null" if value is None else str(value).replace(" ", "").replace("'", "")
