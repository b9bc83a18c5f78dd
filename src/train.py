"""`python -m src.train`: one image, or with -m a sweep of them. See --help."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import run_command
from src.cli.help import help_text
from src.config.schema import RunConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(options: "DictConfig", folder: Path) -> str:
    """Run one job in its folder; return its status."""
    from src.run import run

    return run(options, folder).status


def run_folder(config: RunConfig) -> str:
    """Check what can be checked before the folder of a run exists; return its name.

    Raises:
        InputError: with the bad value and the right ones.
    """
    from src.config.identity import run_name
    from src.config.validation import validate
    from src.data.sources import check_local_files
    from src.encoders.registry import check_backbone
    from src.transfer.terms.registry import check_terms

    validate(config)
    check_backbone(config)
    check_terms(config)
    check_local_files(config)
    return run_name(config)


def main() -> None:
    """Run the command."""
    run_command("train", RunConfig, train, help_text, run_folder)


if __name__ == "__main__":
    main()
