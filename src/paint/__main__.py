"""`python -m src.paint content.path=PICTURES`: stylise in one pass, by a trained network. See --help."""

from src.cli.command import run_command
from src.cli.help import PAINT_HELP, options_help
from src.paint.config import PaintConfig, job_folder


def main() -> None:
    """Run the command."""
    run_command("paint", PaintConfig, "src.paint.job:paint", lambda: options_help(PAINT_HELP, PaintConfig), job_folder)


if __name__ == "__main__":
    main()
