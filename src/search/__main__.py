"""`python -m src.search`: search for the best trade-offs between style and content. See --help."""

from src.cli.command import run_command
from src.cli.help import SEARCH_HELP, options_help
from src.search.config import SEARCH_OPTIONS, SearchConfig, check, study_name


def job_folder(config: SearchConfig) -> str:
    """Check a study and return the name of its folder.

    Raises:
        InputError: names the bad value and what would be right.
    """
    check(config)
    return study_name(config)


def main() -> None:
    """Run the command."""
    run_command(
        "search",
        SearchConfig,
        "src.search.study:search",
        lambda: options_help(SEARCH_HELP, SearchConfig, SEARCH_OPTIONS),
        job_folder,
    )


if __name__ == "__main__":
    main()
