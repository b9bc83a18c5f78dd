"""`python -m src.search`: settings that keep most of the content for the style they take. See --help."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from src.common.leaving import run_and_leave

if TYPE_CHECKING:
    from omegaconf import DictConfig


def search(options: "DictConfig") -> int:
    """Run one study in the folder that Hydra made for it; return how many trials are on its front."""
    from hydra.core.hydra_config import HydraConfig

    from src.cli.errors import job_errors
    from src.config.schema import typed
    from src.search.config import SearchConfig, check

    with job_errors(SearchConfig):
        config = typed(options, SearchConfig)
        check(config)  # before the heavy imports
        from src.search.study import search

        return len(search(config, Path(HydraConfig.get().runtime.output_dir)))


def main() -> None:
    """Show the help, or hand over to Hydra."""
    from src.search.config import SearchConfig, own_options

    if {"-h", "--help"} & set(sys.argv[1:]):
        from src.cli.help import search_help, show

        show(search_help(SearchConfig, own_options()))
        return

    import hydra

    from src.cli import errors as commandline
    from src.cli import launchers
    from src.config import composition
    from src.config import schema as config

    composition.register()
    launchers.register("sequential", launchers.SequentialLauncher)
    with commandline.plain_errors(SearchConfig):
        hydra.main(config_path=str(config.CONF), config_name="search", version_base="1.3")(search)()


if __name__ == "__main__":
    run_and_leave(main)
