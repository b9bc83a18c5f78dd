"""Composing a configuration from the files under conf/, as the command line does."""

import dataclasses
from collections.abc import Sequence

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config import CONF, RunConfig, run_name, typed
from src.errors import InputError


def register() -> None:
    """Make the schema and the resolver of conf/ known to Hydra; may be called again."""
    ConfigStore.instance().store(name="schema", node=RunConfig)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)


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
