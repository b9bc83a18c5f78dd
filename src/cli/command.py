"""Run a command that Hydra configures: help, arguments, schema, launcher, errors."""

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from src.cli.help import show

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run_command(
    name: str,
    schema: type,
    job: str,
    help_text: Callable[[], str],
    folder: Callable[[Any], str] | None = None,
    launchers: Callable[[], None] | None = None,
) -> None:
    """Show the help, resume a run, or let Hydra run the job, alone or in a sweep.

    Args:
        name: conf/NAME.yaml is the configuration to start from.
        schema: its options.
        job: MODULE:FUNCTION, imported when a job starts and called with its typed options and its folder. What it
            returns, or the `status` of that, is the job's status.
        help_text: returns what `--help` shows.
        folder: checks typed options and returns the name of their folder; what `${job_folder:}` in conf/ stands for.
        launchers: makes launchers beside those of `cli.launcher` known to Hydra.
    """
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        show(help_text())
        return

    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from src.cli import launcher
    from src.cli.arguments import prepared
    from src.cli.errors import plain_errors
    from src.cli.resume import resume_in_place, resume_request
    from src.config.schema import CONF, RunConfig, typed

    tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them

    def run_job(options: "DictConfig") -> Any:
        # the launcher reports the errors of a sweep's jobs; of a single job Hydra would print its own report
        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        with nullcontext() if sweep else plain_errors(schema, tracebacks):
            result = resolve_name(job)(typed(options, schema), Path(HydraConfig.get().runtime.output_dir))
            return getattr(result, "status", result)

    with plain_errors(schema, tracebacks):
        if schema is RunConfig and (request := resume_request(arguments)):
            resume_in_place(*request)
            return
        sys.argv[1:] = prepared(arguments, schema)
        register_schema(name, schema, folder)
        launcher.register()
        if launchers:
            launchers()
        hydra.main(config_path=str(CONF), config_name=name, version_base="1.3")(run_job)()


def register_schema(name: str, schema: type, folder: Callable[[Any], str] | None = None) -> None:
    """Make the schema of conf/NAME.yaml and the name of a job's folder known to Hydra; arguments as `run_command`."""
    from omegaconf import OmegaConf

    from src.config import composition

    def folder_name(*, _root_: "DictConfig") -> str:
        assert folder is not None
        return folder(composition.run_options(_root_, schema))

    composition.register(name, schema)
    OmegaConf.register_new_resolver("job_folder", folder_name, replace=True)
