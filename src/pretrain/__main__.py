"""`python -m src.pretrain images=FOLDER`: train the embedded backbone. See --help."""

from src.cli.command import run_command
from src.cli.help import PRETRAIN_HELP, options_help
from src.pretrain.config import PretrainConfig


def main() -> None:
    """Run the command."""
    run_command(
        "pretrain", PretrainConfig, "src.pretrain.run:pretrain", lambda: options_help(PRETRAIN_HELP, PretrainConfig)
    )


if __name__ == "__main__":
    main()
