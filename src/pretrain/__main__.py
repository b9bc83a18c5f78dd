"""Train the embedded backbone: `python -m src.pretrain images=FOLDER`. See --help."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(options: "DictConfig") -> str:
    """Run one training in the folder that Hydra created; return its status."""
    from hydra.core.hydra_config import HydraConfig

    from src.cli.errors import job_errors
    from src.config.schema import typed
    from src.pretrain.config import PretrainConfig

    with job_errors(PretrainConfig):
        config = typed(options, PretrainConfig)
        from src.pretrain.run import pretrain

        return pretrain(config, Path(HydraConfig.get().runtime.output_dir)).status


def main() -> None:
    """Print the help, or run the command through Hydra."""
    from src.config import schema
    from src.pretrain.config import PretrainConfig

    if {"-h", "--help"} & set(sys.argv[1:]):
        from src.cli.help import pretrain_help, show

        show(pretrain_help(PretrainConfig))
        return

    import hydra

    from src.cli import errors, launchers
    from src.config import composition

    composition.register()
    launchers.register("sequential", launchers.SequentialLauncher)
    with errors.plain_errors(PretrainConfig):
        hydra.main(config_path=str(schema.CONF), config_name="pretrain", version_base="1.3")(train)()


if __name__ == "__main__":
    main()
