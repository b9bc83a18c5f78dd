"""`resume=DIR` and `resume=last`: go on with a run in its own folder, or beyond its end in a new one."""

import logging.config
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.common.errors import InputError, first_line
from src.common.files import expanded
from src.config.identity import EXTENDED_FIELDS, NON_IDENTITY_FIELDS
from src.config.options import unknown_value
from src.config.schema import CONF, group_names
from src.run import resumed, run
from src.tracking import record as records

# Groups that may be chosen anew, and the option that their file sets.
GROUPS = {"logger": "logger.name", "trainer": "trainer.accelerator"}


def resume_request(arguments: Sequence[str]) -> tuple[Path, dict[str, Any]] | None:
    """Return the folder that `resume=` names, and the other options; None without `resume=`.

    Raises:
        InputError: one of them is unknown or would change the run.
    """
    values = dict(argument.partition("=")[::2] for argument in arguments if "=" in argument)
    asked = values.pop("resume", "null")
    if asked == "null":
        return None
    if len(values) + 1 < len(arguments):
        raise InputError("resume=DIR resumes one run: it takes no flags and no sweep")
    changeable = [*EXTENDED_FIELDS, *(name for name in NON_IDENTITY_FIELDS if name != "resume")]
    for key, value in values.items():
        if key.partition(".")[0] not in changeable:
            raise InputError(
                f"resume=DIR takes the options of the run from its folder; {key} cannot be changed, only "
                f"{', '.join(changeable)}. To start from its picture instead: init=file init.path=DIR/image.png"
            )
        if key in GROUPS and value not in group_names(key):
            raise InputError(unknown_value(key, value, group_names(key)))
    given = [f"{GROUPS.get(key, key)}={value}" for key, value in values.items()]
    try:
        others: Any = OmegaConf.to_container(OmegaConf.from_dotlist(given))
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{' '.join(given)} cannot be read: {first_line(error)}") from None
    further = not values.keys().isdisjoint(EXTENDED_FIELDS)
    return records.newest(Path("multirun"), finished=further) if asked == "last" else expanded(asked), others


def resume_in_place(folder: Path, options: dict[str, Any]) -> None:
    """Go on with the run of a folder, with a log file in the folder of the run that goes on.

    Args:
        folder: the run folder.
        options: replacements, as for `run.resumed`.
    """
    if not folder.is_dir():
        raise InputError(f"resume={folder}: no such folder")
    config, folder = resumed(folder, options)
    layout = OmegaConf.load(CONF / "hydra" / "job_logging" / "plain.yaml")
    whole = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}, "logging": layout})
    settings: Any = OmegaConf.to_container(whole, resolve=True)
    logging.config.dictConfig(settings["logging"])
    run(config, folder)
