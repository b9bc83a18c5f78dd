"""`python -m src.pretrain images=FOLDER`: trains the embedded backbone. See --help."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from src.leaving import run_and_leave

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(options: "DictConfig") -> str:
    """Run one training in the folder that Hydra made for it; return its status."""
    from hydra.core.hydra_config import HydraConfig

    from src.commandline import job_errors
    from src.config import typed
    from src.pretraining.config import PretrainConfig

    with job_errors(PretrainConfig):
        config = typed(options, PretrainConfig)
        from src.pretraining.run import pretrain

        return pretrain(config, Path(HydraConfig.get().runtime.output_dir)).status


def main() -> None:
    """Show the help, or hand over to Hydra."""
    from src.pretraining.config import PretrainConfig

    if {"-h", "--help"} & set(sys.argv[1:]):
        from src.help import pretrain_help, show

        show(pretrain_help(PretrainConfig))
        return

    import hydra

    from src import commandline, composition, config, launchers

    composition.register()
    launchers.register("sequential", launchers.SequentialLauncher)
    with commandline.plain_errors(PretrainConfig):
        hydra.main(config_path=str(config.CONF), config_name="pretrain", version_base="1.3")(train)()


if __name__ == "__main__":
    run_and_leave(main)
