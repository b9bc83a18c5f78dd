"""`python -m src.distill images=FOLDER style=...`: train a network that stylises in one pass. See --help."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import run_command
from src.cli.help import DISTILL_HELP, options_help
from src.distill.config import DistillConfig, job_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(options: "DictConfig", folder: Path) -> str:
    """Run one training in its folder; return its status."""
    from src.config.schema import typed
    from src.distill.run import distill

    return distill(typed(options, DistillConfig), folder).status


def main() -> None:
    """Run the command."""
    run_command("distill", DistillConfig, train, lambda: options_help(DISTILL_HELP, DistillConfig), job_folder)


if __name__ == "__main__":
    main()
