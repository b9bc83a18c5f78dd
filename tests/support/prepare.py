"""The parts of a run at its start, without a run folder."""

from dataclasses import dataclass
from pathlib import Path

import torch

from src.config.schedule import Stage
from src.config.schema import RunConfig
from src.encoders.base import Encoder
from src.training.checkpoints import CHECKPOINT
from src.training.context import RunContext
from src.training.loop import find_device
from src.training.setup import PreparedRun
from src.transfer.image_models.base import ImageModel
from src.transfer.image_models.registry import build_image_model
from src.transfer.objective import Objective
from src.transfer.terms.base import Inputs


@dataclass
class Prepared:
    """A run whose only stage has been entered."""

    run: PreparedRun
    image: ImageModel

    @property
    def objective(self) -> Objective:
        """Return the objective of the run."""
        return self.run.pair.objective

    @property
    def encoder(self) -> Encoder:
        """Return the frozen network."""
        return self.run.encoder

    @property
    def inputs(self) -> Inputs:
        """Return content and style image."""
        return self.run.inputs


def prepare_run(config: RunConfig) -> PreparedRun:
    """Return a run before its first stage."""
    context = RunContext(config, Path("no-such-folder"))
    context.check()
    return PreparedRun(context, find_device(config.trainer))


def prepare(config: RunConfig) -> Prepared:
    """Return a run at the start of a single stage at full size."""
    prepared = prepare_run(config)
    start = prepared.enter(Stage(config.edge, 0, config.steps), None, fresh=True)
    return Prepared(prepared, build_image_model(config, start, prepared.encoder))


def load_image(image: ImageModel, folder: Path) -> None:
    """Load the parameters of a run's checkpoint into an image model."""
    state = torch.load(folder / CHECKPOINT, weights_only=True)["state_dict"]
    image.load_state_dict({name.removeprefix("image."): value for name, value in state.items()}, strict=False)
