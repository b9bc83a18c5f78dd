"""Composing a configuration from the files under conf/, as the command line does."""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.cli.help import option_names
from src.common.errors import InputError
from src.config.identity import run_name
from src.config.schema import CONF, Picture, RunConfig, group_names, typed
from src.pretrain.config import PretrainConfig
from src.search.config import SearchConfig, study_name


def register() -> None:
    """Make the schema and the resolver of conf/ known to Hydra; may be called again."""
    ConfigStore.instance().store(name="schema", node=RunConfig)
    ConfigStore.instance().store(name="pretrain_schema", node=PretrainConfig)
    ConfigStore.instance().store(name="search_schema", node=SearchConfig)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("study_folder", study_folder, replace=True)


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
            raise InputError(explain_composition(error)) from error


def run_folder(*, _root_: DictConfig) -> str:
    """Resolve `${run_folder:}`: the name of the run that the surrounding configuration describes."""
    return run_name(run_options(_root_))


def run_options(composed: DictConfig) -> RunConfig:
    """Return the options of a run out of what Hydra composed, which holds Hydra's own beside them.

    Raises:
        InputError: as `typed`.
    """
    fields = [field.name for field in dataclasses.fields(RunConfig)]
    return typed(OmegaConf.masked_copy(composed, fields))


def known_picture(kind: str, name: str) -> Picture:
    """Return what `content=NAME` or `style=NAME` (`kind`) stands for, as its file says."""
    options: Any = OmegaConf.load(CONF / kind / f"{name}.yaml")
    return typed(options, Picture)


def study_folder(*, _root_: DictConfig) -> str:
    """Resolve `${study_folder:}`: the name of the study that the surrounding configuration describes."""
    fields = [field.name for field in dataclasses.fields(SearchConfig)]
    return study_name(typed(OmegaConf.masked_copy(_root_, fields), SearchConfig))


def explain_composition(error: HydraException | OmegaConfBaseException, schema: type = RunConfig) -> str:
    """Return what a user should read of Hydra's word on a name or value: what is wrong, and the right ones."""
    text = str(error)
    if found := re.match(r"Could not override '([^']+)'", text):
        return _unknown_option(found[1], schema)
    if found := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, name = found[1].rpartition("/")
        return f"{group}={name} is unknown; one of: {', '.join(group_names(group))}"
    if "missing EQUAL" in text:
        return f"{text.splitlines()[0]}: write OPTION=VALUE"
    if isinstance(cause := error.__cause__, OmegaConfBaseException):
        return f"{text}: {str(cause).splitlines()[0]}"
    if re.search("mismatched input|no viable alternative|extraneous input|token rec", text):
        return (
            f"{text.splitlines()[0]}\nvalues with spaces, commas, = or brackets are quoted twice: "
            "'content.path=\"my photo, 1.jpg\"'"
        )
    return re.sub(r"\nSee https://hydra.cc.*", "", text)


def _unknown_option(name: str, schema: type) -> str:
    names = option_names(schema)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.7)
    inside = [each for each in names if each.startswith(name.partition(".")[0] + ".")] if "." in name else []
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no option {name}; {hint}the options: {', '.join(inside or names)}"
