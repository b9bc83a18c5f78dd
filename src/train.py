"""`python -m src.train`: one image, or with -m a sweep of them. See --help."""

from src.cli.command import run_command
from src.cli.help import help_text
from src.config.schema import RunConfig
from src.run import run_folder


def register_launchers() -> None:
    """Make the launchers of workers known to Hydra."""
    from src.sweep import launchers

    launchers.register()


def main() -> None:
    """Run the command."""
    run_command("train", RunConfig, "src.run:run", help_text, run_folder, register_launchers)


if __name__ == "__main__":
    main()
