"""`python -m src.train`: one picture, or with -m a sweep of them. See --help."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(options: "DictConfig") -> str:
    """Run one job in the folder that Hydra made for it; return its status."""
    from hydra.core.hydra_config import HydraConfig

    from src.cli.errors import job_errors
    from src.run import run

    with job_errors():
        return run(options, Path(HydraConfig.get().runtime.output_dir)).status


def main() -> None:
    """Show the help, resume a folder, or hand over to Hydra; each imports no more than it needs."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        from src.cli.help import help_text, show

        show(help_text())
        return

    import hydra

    from src.cli import errors, launchers
    from src.cli.batch_launcher import BatchLauncher
    from src.config import composition, schema

    composition.register()
    launchers.register("sequential", launchers.SequentialLauncher)
    launchers.register("batch", BatchLauncher)
    with errors.plain_errors():
        if (asked := errors.resume_request(sys.argv[1:])) is not None:
            errors.resume_in_place(*asked)
        else:
            hydra.main(config_path=str(schema.CONF), config_name="train", version_base="1.3")(train)()


if __name__ == "__main__":
    main()
