"""Options of `python -m src.distill`."""

import dataclasses
from dataclasses import dataclass

from src.common.errors import InputError
from src.config.identity import folder_name
from src.config.options import option
from src.config.schema import (
    Backbone,
    Layers,
    Logger,
    Loss,
    Picture,
    RunConfig,
    Trainer,
    picture_name,
    style_picture,
)
from src.config.validation import check_choices, check_ranges, check_style_names
from src.data.networks import network_path
from src.feedforward import SIZES
from src.transfer.checks import check_options

# Options that may change between a training and its continuation.
NON_IDENTITY_FIELDS = ("logger", "trainer", "mirror", "max_megapixels", "log_every", "checkpoint_every", "compare")
POSITIVE = ("steps", "batch_size", "size", "edge", "lr", "clip", "log_every", "checkpoint_every", "style_scale")
NOT_NEGATIVE = ("consistency", "noise", "held_out", "compare", "seed")
LARGEST = {
    "steps": 10_000_000,
    "batch_size": 100_000,
    "size": 10_000,
    "edge": 10_000,
    "lr": 1000,
    "seed": 2**32 - 1,
    "held_out": 10_000,
    "style_scale": 16,
}
PRECISIONS = ("auto", "bf16", "32")
SMALLEST_CROP = 64


@dataclass
class DistillConfig:
    """A network for one or several styles: its objective, which is a run's, and its training."""

    style: Picture = option(Picture, "style image")
    styles: list[str] = option([], "further styles of the same network: names of style=NAME, or files")
    style_scale: float = option(1.0, "size of the style images relative to edge")
    layers: Layers = option(Layers, "layer set")
    loss: Loss = option(Loss, "objective")
    backbone: Backbone = option(Backbone, "network that features are read from")
    logger: Logger = option(Logger, "tracking")
    trainer: Trainer = option(Trainer, "device")
    images: str | None = option(None, "folder of photographs to train on (required)")
    network: str = option("small", "small (71,000 weights) | half (425,000) | johnson (1.7 million)")
    start: str | None = option(
        None, "network to start from: a name or file, as src.paint weights=; of the same size and number of styles"
    )
    steps: int = option(4000, "optimiser steps")
    batch_size: int = option(4, "crops per batch")
    size: int = option(192, "side of a crop, px")
    edge: int = option(356, "the network's strokes are as large as those of a run with this edge, px")
    lr: float = option(0.002, "peak learning rate of Adam")
    warmup: float = option(0.02, "fraction of the steps in which the learning rate rises")
    clip: float = option(5.0, "largest norm of the gradient")
    consistency: float = option(
        0.0, "weight of the squared difference between the results for a crop and for a noisy copy of it"
    )
    noise: float = option(0.03, "standard deviation of that noise, images in [0, 1]")
    held_out: int = option(10, "photographs that are not trained on, for measuring the result")
    compare: int = option(0, "optimiser steps of runs on the held-out photographs to compare the result with; 0: none")
    precision: str = option("auto", "precision of convolutions: auto (bf16 where the hardware has it) | bf16 | 32")
    seed: int = option(0, "seed of the initial weights and the crops")
    log_every: int = option(20, "steps between logged points")
    checkpoint_every: int = option(200, "steps between checkpoints")
    max_megapixels: float = option(100.0, "largest style image or held-out photograph accepted")
    mirror: str | None = option(None, "folder to take known images and weights from instead of downloading them")


def style_pictures(config: DistillConfig) -> list[Picture]:
    """Return the style images that the network learns, in the order of its styles."""
    return [config.style, *map(style_picture, config.styles)]


def style_names(config: DistillConfig) -> list[str]:
    """Return the names of the styles, by which `python -m src.paint` chooses them."""
    return [picture_name(each) for each in style_pictures(config)]


def objective_run(config: DistillConfig, style: Picture) -> RunConfig:
    """Return the run whose objective the network learns for a style."""
    shared = {field.name for field in dataclasses.fields(RunConfig)} & {
        field.name for field in dataclasses.fields(DistillConfig)
    }
    values = {name: getattr(config, name) for name in shared - {"style", "steps"}}
    return RunConfig(style=style, **values)


def job_folder(config: DistillConfig) -> str:
    """Check a training and return the name of its folder.

    Raises:
        InputError: names the bad value and what would be right.
    """
    check(config)
    specification = {key: value for key, value in dataclasses.asdict(config).items() if key not in NON_IDENTITY_FIELDS}
    return folder_name([*style_names(config), config.network], specification)


def check(config: DistillConfig) -> None:
    """Check all that can be checked without reading a file.

    Raises:
        InputError: names the bad value and what would be right.
    """
    if config.images is None:
        raise InputError("images=FOLDER is needed: the folder of photographs to train on")
    check_ranges(config, POSITIVE, NOT_NEGATIVE, LARGEST)
    if not 0 <= config.warmup <= 1:
        raise InputError(f"warmup must be in [0, 1], not {config.warmup}")
    check_choices(config, {"network": tuple(SIZES), "precision": PRECISIONS})
    if config.size % 4 or config.size < SMALLEST_CROP:
        raise InputError(f"size must be a multiple of 4 of at least {SMALLEST_CROP} px, not {config.size}")
    if config.size > config.edge:
        raise InputError(
            f"size={config.size} must not be above edge={config.edge}: crops are cut from "
            "photographs whose short side is at most that"
        )
    for name in ("compile", "memory"):
        value = getattr(config.trainer, name)
        if value != getattr(Trainer, name) and not config.compare:
            raise InputError(f"trainer.{name}={value} is for the runs of compare=STEPS; it has no effect on training")
    check_style_names("styles", config.styles)
    if any(picture.mask for picture in style_pictures(config)):
        raise InputError("style.mask limits the style of a single run; a network takes the whole image")
    names = style_names(config)
    if len(set(names)) < len(names):
        raise InputError(f"the styles of a network need different names, not {', '.join(names)}")
    if config.start is not None:
        network_path(config.start, "start")
    for picture in style_pictures(config):
        check_options(objective_run(config, picture))
