"""`python -m src.train`: one picture, or with -m a sweep of them. See --help."""

import sys
from contextlib import nullcontext
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src import commandline, composition, launchers
from src.run import run


def train(options: DictConfig) -> str:
    """Run one job in the folder that Hydra made for it; return its status."""
    job = HydraConfig.get()
    # a job of a sweep hands its error to the launcher; alone, it speaks for itself
    with nullcontext() if job.mode == RunMode.MULTIRUN else commandline.plain_errors():
        return run(options, Path(job.runtime.output_dir)).status


def main() -> None:
    """Resume a folder, or hand over to Hydra."""
    composition.register()
    launchers.register()
    with commandline.plain_errors():
        if (asked := commandline.resume_request(sys.argv[1:])) is not None:
            commandline.resume_in_place(*asked)
        else:
            hydra.main(config_path=str(composition.CONF), config_name="train", version_base="1.3")(train)()


if __name__ == "__main__":
    main()
