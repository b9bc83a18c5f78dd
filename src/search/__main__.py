"""`python -m src.search`: search for the best trade-offs between style and content. See --help."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from src.common.leaving import run_and_leave

if TYPE_CHECKING:
    from omegaconf import DictConfig


def search(options: "DictConfig") -> int:
    """Run one study in the folder that Hydra made for it; return the number of trials on its front."""
    from hydra.core.hydra_config import HydraConfig

    from src.cli.errors import job_errors
    from src.config.schema import typed
    from src.search.config import SearchConfig, check

    with job_errors(SearchConfig):
        config = typed(options, SearchConfig)
        check(config)  # before the slow imports, so that mistakes are reported at once
        from src.search.study import search

        return len(search(config, Path(HydraConfig.get().runtime.output_dir)))


def main() -> None:
    """Show the help, or run the command through Hydra."""
    from src.search.config import SEARCH_OPTIONS, SearchConfig, register

    if {"-h", "--help"} & set(sys.argv[1:]):
        from src.cli.help import search_help, show

        show(search_help(SearchConfig, SEARCH_OPTIONS))
        return

    import hydra

    from src.cli import errors, launchers
    from src.config import composition
    from src.config.schema import CONF

    composition.register()
    register()
    launchers.register("sequential", launchers.SequentialLauncher)
    with errors.plain_errors(SearchConfig):
        hydra.main(config_path=str(CONF), config_name="search", version_base="1.3")(search)()


if __name__ == "__main__":
    run_and_leave(main)
