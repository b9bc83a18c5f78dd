"""`python -m src.train`: one image, or with -m a sweep of them. See --help."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import run_command
from src.cli.help import help_text
from src.config.schema import RunConfig
from src.run import run_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(options: "DictConfig", folder: Path) -> str:
    """Run one job in its folder; return its status."""
    from src.run import run

    return run(options, folder).status


def register_launchers() -> None:
    """Make the launchers of workers known to Hydra."""
    from src.sweep import launchers

    launchers.register()


def main() -> None:
    """Run the command."""
    run_command("train", RunConfig, train, help_text, run_folder, register_launchers)


if __name__ == "__main__":
    main()
