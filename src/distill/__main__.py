"""`python -m src.distill images=FOLDER style=...`: train a network that stylises in one pass. See --help."""

from src.cli.command import run_command
from src.cli.help import DISTILL_HELP, options_help
from src.distill.config import DistillConfig, job_folder


def main() -> None:
    """Run the command."""
    run_command(
        "distill",
        DistillConfig,
        "src.distill.run:distill",
        lambda: options_help(DISTILL_HELP, DistillConfig),
        job_folder,
    )


if __name__ == "__main__":
    main()
