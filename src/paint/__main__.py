"""`python -m src.paint content.path=PICTURES`: stylise in one pass, by a trained network. See --help."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import run_command
from src.cli.help import PAINT_HELP, options_help
from src.paint.config import PaintConfig, job_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig


def paint(options: "DictConfig", folder: Path) -> str:
    """Stylise what one job names; return its status."""
    from src.config.schema import typed
    from src.paint.job import paint

    return paint(typed(options, PaintConfig), folder)


def main() -> None:
    """Run the command."""
    run_command("paint", PaintConfig, paint, lambda: options_help(PAINT_HELP, PaintConfig), job_folder)


if __name__ == "__main__":
    main()
