"""`resume=DIR` and `resume=last`: resume an interrupted run in its own folder."""

import logging.config
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from src.common.errors import InputError
from src.common.files import expanded
from src.config.identity import NON_IDENTITY_FIELDS
from src.config.schema import CONF, group_names
from src.run import resume
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
    changeable = [name for name in NON_IDENTITY_FIELDS if name != "resume"]
    for key, value in values.items():
        if key.partition(".")[0] not in changeable:
            raise InputError(
                f"resume=DIR takes the options of the run from its folder; {key} cannot be changed. These can: "
                f"{', '.join(changeable)}"
            )
        if key in GROUPS and value not in group_names(key):
            raise InputError(f"{key}={value} is unknown; one of: {', '.join(group_names(key))}")
    others: Any = OmegaConf.to_container(
        OmegaConf.from_dotlist([f"{GROUPS.get(key, key)}={value}" for key, value in values.items()])
    )
    return records.newest_unfinished(Path("multirun")) if asked == "last" else expanded(asked), others


def resume_in_place(folder: Path, options: dict[str, Any]) -> None:
    """Resume the run of a folder with the same log file.

    Args:
        folder: the run folder.
        options: replacements for fields that are not part of the run's identity.
    """
    if not folder.is_dir():
        raise InputError(f"resume={folder}: no such folder")
    layout = OmegaConf.load(CONF / "hydra" / "job_logging" / "plain.yaml")
    whole = OmegaConf.create({"hydra": {"runtime": {"output_dir": str(folder)}}, "logging": layout})
    settings: Any = OmegaConf.to_container(whole, resolve=True)
    logging.config.dictConfig(settings["logging"])
    resume(folder, options)
