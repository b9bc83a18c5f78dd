"""Options of `python -m src.pretrain`."""

from dataclasses import dataclass

from src.common.errors import InputError
from src.config.options import option
from src.config.schema import Device, Logger
from src.config.validation import CHOICES, check_choices, check_logger, check_ranges, check_trainer

# Options that may change between a training and its continuation.
NON_IDENTITY_FIELDS = ("logger", "trainer", "log_every", "checkpoint_every")
POSITIVE = ("steps", "batch_size", "edge", "lr", "clip", "log_every", "checkpoint_every")
NOT_NEGATIVE = ("rotation", "jitter", "noise", "blur", "adversary", "weight_decay", "seed", "inherit")
SELF_SUPERVISED = ("texture", "diversity", "scene", "layout")
LOSS_WEIGHTS = (*SELF_SUPERVISED, "features", "outputs")
LARGEST = {
    "steps": 10_000_000,
    "batch_size": 100_000,
    "size": 10_000,
    "blur": 100,
    "lr": 1000,
    "seed": 2**32 - 1,
    "inherit": 100_000,
}
TEACHERS = ("vgg16", "vgg19", "efficientnet_lite0", "none")
PRECISIONS = ("bf16", "32")
FRACTIONS = ("grey", "mix", "adversary_from", "warmup", "label_smoothing")
SMALLEST_CROP = 32


@dataclass
class PretrainConfig:
    """Recipe of the embedded backbone."""

    logger: Logger = option(Logger, "tracking")
    trainer: Device = option(Device, "machine")
    images: str | None = option(None, "folder of images to train on (required)")
    steps: int = option(8100, "optimiser steps: one per batch, two per batch in the adversarial part")
    batch_size: int = option(64, "crops per batch")
    size: int = option(112, "side of a crop, px; a multiple of 16")
    edge: int = option(288, "pictures are reduced to this short side when read, px")
    zoom: list[float] = option([0.6, 2.6], "picture pixels per crop pixel, [smallest, largest]")
    rotation: float = option(15.0, "largest rotation, degrees")
    jitter: float = option(0.15, "largest relative change of brightness, contrast and saturation")
    noise: float = option(0.03, "largest standard deviation of the added Gaussian noise, images in [0, 1]")
    grey: float = option(0.1, "fraction of crops turned grey; a grey picture is a class of its own")
    blur: float = option(0.0, "largest standard deviation of the Gaussian blur of a crop, px")
    mix: float = option(0.0, "fraction of crops blended with another crop of the batch; needs a teacher")
    adversary: float = option(0.0, "step size of the adversarial second use of a batch, in 1/255; 0 turns it off")
    adversary_from: float = option(0.5, "fraction of the steps after which batches are used twice")
    texture: float = option(0.0, "weight of classifying pictures by the statistics of each tap")
    diversity: float = option(0.0, "weight of decorrelating the channels of each tap")
    scene: float = option(0.0, "weight of classifying pictures by the deepest features and their positions")
    layout: float = option(0.0, "weight of reconstructing the edges of the crop from relu4_1")
    teacher: str = option("vgg16", f"network whose activations the student learns: {' | '.join(TEACHERS)}")
    teacher_weights: str = option(
        "trained", "trained (ImageNet weights: torchvision's, downloaded once, or the package's) | PATH"
    )
    inherit: int = option(
        640, "crops on which the student's first weights are fitted to those of a VGG teacher; 0: random weights"
    )
    features: float = option(1.0, "weight of matching the teacher's activations")
    outputs: float = option(1.0, "weight of the KL divergence from the class probabilities of efficientnet_lite0")
    label_smoothing: float = option(0.1, "label smoothing of the classification losses")
    lr: float = option(0.0005, "peak learning rate of AdamW")
    warmup: float = option(0.05, "fraction of the steps in which the learning rate rises")
    weight_decay: float = option(0.0, "weight decay of AdamW")
    clip: float = option(5.0, "largest norm of the gradient")
    precision: str = option("bf16", "bf16 (convolutions) | 32")
    seed: int = option(0, "seed of the initial weights and the crops")
    log_every: int = option(20, "batches between logged points")
    checkpoint_every: int = option(100, "batches between checkpoints")


def check(config: PretrainConfig) -> None:
    """Check all that can be checked without reading a file.

    Raises:
        InputError: names the invalid value and the valid ones.
    """
    if config.images is None:
        raise InputError("images=FOLDER is needed: the folder of pictures to train on")
    check_ranges(config, POSITIVE, (*NOT_NEGATIVE, *LOSS_WEIGHTS), LARGEST)
    check_trainer(config.trainer, config.precision)
    for name in FRACTIONS:
        if not 0 <= getattr(config, name) <= 1:
            raise InputError(f"{name} must be in [0, 1], not {getattr(config, name)}")
    if config.size % 16 or config.size < SMALLEST_CROP:
        raise InputError(
            f"size must be a multiple of 16 of at least {SMALLEST_CROP} px, two positions of the deepest tap; "
            f"not {config.size}"
        )
    if config.batch_size < 2:
        raise InputError("batch_size must be at least 2: batch norm needs more than one crop")
    if len(config.zoom) != 2 or not 0 < config.zoom[0] <= config.zoom[1] < float("inf"):
        raise InputError(f"zoom must be two positive numbers, the smaller first, not {config.zoom}")
    check_logger(config)
    accelerators = CHOICES["trainer.accelerator"]
    check_choices(config, {"teacher": TEACHERS, "precision": PRECISIONS, "trainer.accelerator": accelerators})
    classes = config.teacher == "efficientnet_lite0"  # the only teacher with a classifier
    taught = config.teacher != "none" and (config.features > 0 or (classes and config.outputs > 0))
    if not taught and not any(getattr(config, name) for name in SELF_SUPERVISED):
        raise InputError("nothing to learn: set a teacher and features, or texture, diversity, scene or layout above 0")
    if config.teacher_weights != "trained" and config.teacher == "none":
        raise InputError(f"teacher_weights={config.teacher_weights} needs a teacher: {', '.join(TEACHERS[:-1])}")
    if config.mix and config.teacher == "none":
        raise InputError(f"mix={config.mix} needs a teacher: the class of a blended crop is that of one picture only")
