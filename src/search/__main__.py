"""`python -m src.search`: search for the best trade-offs between style and content. See --help."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import run_command
from src.cli.help import SEARCH_HELP, options_help
from src.search.config import SEARCH_OPTIONS, SearchConfig, check, study_name

if TYPE_CHECKING:
    from omegaconf import DictConfig


def search(options: "DictConfig", folder: Path) -> int:
    """Run one study in its folder; return the number of trials on its front."""
    from src.config.schema import typed
    from src.search.study import search

    return len(search(typed(options, SearchConfig), folder))


def study_folder(config: SearchConfig) -> str:
    """Check a study and return the name of its folder.

    Raises:
        InputError: names the bad value and what would be right.
    """
    check(config)
    return study_name(config)


def main() -> None:
    """Run the command."""
    run_command(
        "search", SearchConfig, search, lambda: options_help(SEARCH_HELP, SearchConfig, SEARCH_OPTIONS), study_folder
    )


if __name__ == "__main__":
    main()
