"""The options of `python -m src.pretrain`."""

from dataclasses import dataclass

from src.common.errors import InputError
from src.config.options import option
from src.config.schema import Logger, Trainer
from src.config.validation import check_ranges

# Where it runs and who watches makes no other training.
NON_IDENTITY_FIELDS = ("logger", "trainer", "log_every", "checkpoint_every")


@dataclass
class PretrainConfig:
    """The recipe of the embedded backbone."""

    logger: Logger = option(Logger, "tracking")
    trainer: Trainer = option(Trainer, "machine")
    images: str | None = option(None, "folder of images to train on: needed")
    steps: int = option(7000, "optimiser steps, one to a batch, later two (see adversary)")
    batch_size: int = option(40, "crops in a batch")
    size: int = option(80, "side of a crop, px")
    edge: int = option(288, "pictures are read with their short side at most this, px")
    zoom: list[float] = option([0.6, 2.6], "picture pixels to a crop pixel, smallest and largest")
    rotation: float = option(30.0, "largest rotation, degrees")
    jitter: float = option(0.15, "largest relative change of brightness, contrast, saturation")
    noise: float = option(0.03, "largest standard deviation of the noise added, of a range of 1")
    grey: float = option(0.5, "share of crops without colour; a picture in grey is a class of its own")
    adversary: float = option(3.0, "step of the adversarial second use of each batch, of 255; 0 leaves it out")
    adversary_from: float = option(0.5, "share of the steps after which batches are used twice")
    texture: float = option(1.0, "weight of telling pictures apart by each tap's statistics")
    diversity: float = option(0.5, "weight of channels of a tap not saying the same")
    scene: float = option(1.0, "weight of telling them apart by the deepest features in their places")
    layout: float = option(1.0, "weight of drawing the crop again from relu4_1")
    label_smoothing: float = option(0.1, "of the classifications")
    lr: float = option(0.002, "largest learning rate of AdamW")
    warmup: float = option(0.05, "share of the steps in which it rises")
    weight_decay: float = option(0.05, "of AdamW")
    clip: float = option(5.0, "largest norm of the gradient")
    precision: str = option("bf16", "bf16 (convolutions) | 32")
    seed: int = option(0, "of weights and crops")
    log_every: int = option(20, "batches between logged points")
    checkpoint_every: int = option(100, "batches between checkpoints")


POSITIVE = ("steps", "batch_size", "edge", "lr", "clip", "log_every", "checkpoint_every")
NOT_NEGATIVE = ("rotation", "jitter", "noise", "adversary", "texture", "diversity", "scene", "layout", "weight_decay")
SHARES = ("grey", "adversary_from", "warmup", "label_smoothing")
SMALLEST_CROP = 32


def check(config: PretrainConfig) -> None:
    """Check what can be known before any file is read.

    Raises:
        InputError: with the bad value and the right ones.
    """
    if config.images is None:
        raise InputError("images=FOLDER is needed: the pictures to train on")
    check_ranges(config, POSITIVE, NOT_NEGATIVE)
    for name in SHARES:
        if not 0 <= getattr(config, name) <= 1:
            raise InputError(f"{name} must be in [0, 1], not {getattr(config, name)}")
    if config.size < SMALLEST_CROP:
        raise InputError(
            f"size must be at least {SMALLEST_CROP} px, two positions of the deepest tap; not {config.size}"
        )
    if config.batch_size < 2:
        raise InputError("batch_size must be at least 2: batch norm knows nothing of a single crop")
    if len(config.zoom) != 2 or not 0 < config.zoom[0] <= config.zoom[1]:
        raise InputError(f"zoom must be two positive numbers, the smaller first, not {config.zoom}")
    if config.precision not in ("bf16", "32"):
        raise InputError(f"precision={config.precision} is unknown; one of: bf16, 32")
