"""`python -m src.search`: search settings that keep most of the content for the style they take. See --help."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import run_command
from src.cli.help import search_help
from src.search.config import SearchConfig, check, own_options, study_name

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
        InputError: with the bad value and the right ones.
    """
    check(config)
    return study_name(config)


def main() -> None:
    """Run the command."""
    run_command("search", SearchConfig, search, lambda: search_help(SearchConfig, own_options()), study_folder)


if __name__ == "__main__":
    main()
