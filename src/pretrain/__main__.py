"""`python -m src.pretrain images=FOLDER`: trains the embedded backbone. See --help."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from src.common.leaving import run_and_leave

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(options: "DictConfig") -> str:
    """Run one training in the folder that Hydra made for it; return its status."""
    from hydra.core.hydra_config import HydraConfig

    from src.cli.errors import job_errors
    from src.config.schema import typed
    from src.pretrain.config import PretrainConfig

    with job_errors(PretrainConfig):
        config = typed(options, PretrainConfig)
        from src.pretrain.run import pretrain

        return pretrain(config, Path(HydraConfig.get().runtime.output_dir)).status


def main() -> None:
    """Show the help, or hand over to Hydra."""
    from src.pretrain.config import PretrainConfig

    if {"-h", "--help"} & set(sys.argv[1:]):
        from src.cli.help import pretrain_help, show

        show(pretrain_help(PretrainConfig))
        return

    import hydra

    from src.cli import errors as commandline
    from src.cli import launchers
    from src.config import composition
    from src.config import schema as config

    composition.register()
    launchers.register("sequential", launchers.SequentialLauncher)
    with commandline.plain_errors(PretrainConfig):
        hydra.main(config_path=str(config.CONF), config_name="pretrain", version_base="1.3")(train)()


if __name__ == "__main__":
    run_and_leave(main)
