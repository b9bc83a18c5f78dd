"""`python -m src.pretrain images=FOLDER`: train the embedded backbone. See --help."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import run_command
from src.cli.help import PRETRAIN_HELP, options_help
from src.pretrain.config import PretrainConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(options: "DictConfig", folder: Path) -> str:
    """Run one training in its folder; return its status."""
    from src.config.schema import typed
    from src.pretrain.run import pretrain

    return pretrain(typed(options, PretrainConfig), folder).status


def main() -> None:
    """Run the command."""
    run_command("pretrain", PretrainConfig, train, lambda: options_help(PRETRAIN_HELP, PretrainConfig))


if __name__ == "__main__":
    main()
