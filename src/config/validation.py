"""Check what types cannot express: ranges, and fields that depend on one another."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from src.common.errors import InputError
from src.config.options import unknown_value
from src.config.schedule import SMALLEST_EDGE, capture_steps
from src.config.schema import PATH_STARTS, ROUNDING, SUFFIXES, Device, RunConfig, group_names, masks

CHOICES: dict[str, tuple[Any, ...]] = {
    **{f"{group}.name": tuple(group_names(group)) for group in ("loss", "init", "optimizer", "schedule")},
    "loss.tv_form": ("squares", "stencil", "absolute"),
    "backbone.pool": ("blur", "avg", "max", "own"),
    "backbone.swag": ("off", "paper", "released"),
    "canvas.space": ("laplacian", "pixel", "normalized", "fourier"),
    "trainer.compile": ("auto", "always", "never"),
    "trainer.memory": ("auto", "whole", "checkpointed", "tiled"),
    "trainer.kernels": ("auto", "off"),
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "color": ("style", "luminance", "match", "content"),
    "guides": ("simple", "inside", "all"),
    "fit": ("keep", "squash"),
    "format": tuple(SUFFIXES),
    "depth": (8, 16),
    "precision": ("auto", "bf16", "32", "64"),
}
LOGGER_CHOICES: dict[str, tuple[str, ...]] = {
    "logger.name": tuple(group_names("logger")),
    "logger.mode": ("auto", "online", "offline"),
}
POSITIVE: tuple[str, ...] = ("steps", "edge", "log_every", "checkpoint_every", "max_megapixels", "schedule.sizes")
POSITIVE += ("loss.rematch", "optimizer.lr", "optimizer.history", "canvas.turns")
NOT_NEGATIVE: tuple[str, ...] = ("loss.alpha", "loss.beta", "loss.palette", "loss.tv", "loss.jump", "optimizer.rise")
NOT_NEGATIVE += ("loss.reference", "score.bound", "score.penalty", "seed", "backbone.seed")
NOT_NEGATIVE += ("preview_every", "loss.self_similarity")
# Forms of the loss that depend on the scale of the activations.
ABSOLUTE = ("equations", "published", "mean_squares", "gram_mean_std")
MOST_TURNS = 64
# Values beyond these are mistakes that would take for ever or overflow.
LARGEST = {
    "steps": 10_000_000,
    "edge": 1_000_000,
    "optimizer.lr": 1000,
    "optimizer.history": 10_000,
    "schedule.sizes": 100,
    "schedule.factor": 16,
    "canvas.turns": MOST_TURNS,
    "seed": 2**32 - 1,
    "backbone.seed": 2**32 - 1,
}
MOST_THREADS = 1024
LARGEST_SCALE = 16  # of style_scale
LONGEST_SIDE = {"jpeg": 65500, "webp": 16383}  # px, of the file formats
WEIGHTS = ("trained", "random")  # backbone.weights by name; anything else is a path


def validate(config: RunConfig) -> None:
    """Check ranges and fields that depend on one another, before any file is read.

    Raises:
        InputError: with the bad value and the right ones.
    """
    check_choices(config, CHOICES)
    check_ranges(config, POSITIVE, NOT_NEGATIVE, LARGEST)
    check_trainer(config.trainer, config.precision)
    if not 0 <= config.loss.patches <= 1:
        raise InputError(f"loss.patches is a share of the style loss, in [0, 1], not {config.loss.patches}")
    _check_capacity(config)
    if config.backbone.swag == "released" and config.loss.name not in ABSOLUTE:
        raise InputError(
            f"backbone.swag=released changes nothing with loss={config.loss.name}, which is relative to the energy of "
            f"content and style; use loss={' or '.join(ABSOLUTE)}"
        )
    if config.canvas.turns > 1 and not config.canvas.views:
        raise InputError(f"canvas.turns={config.canvas.turns} needs canvas.views=FILE")
    if config.guides != "simple" and not masks(config):
        raise InputError(f"guides={config.guides} needs content.mask=FILE or style.mask=FILE")
    if 0 < config.loss.jump < 1:
        raise InputError(f"loss.jump is a factor of 1 or more, or 0 for never, not {config.loss.jump}")
    if config.depth == 16 and config.format not in ("png", "tiff"):
        raise InputError(f"depth=16 needs format=png or format=tiff; {config.format} has 8 bits")
    if config.edge > (most := LONGEST_SIDE.get(config.format, config.edge)):
        raise InputError(f"format={config.format} has at most {most} px a side, not edge={config.edge}; tiff has more")
    if config.loss.alpha == 0 and config.loss.beta == 0:
        raise InputError("loss.alpha and loss.beta are both zero: there is nothing to optimise")
    for kind in ("content", "style"):
        picture = getattr(config, kind)
        if picture.path and (picture.package or picture.url):
            raise InputError(f"{kind}.path goes with {kind}=file; {kind}={picture.name} is an image of its own")
    check_logger(config)
    if config.stop_at_loss is not None and not math.isfinite(config.stop_at_loss):
        raise InputError(f"stop_at_loss must be a finite number, not {config.stop_at_loss}")
    if config.init.name in PATH_STARTS and not config.init.path:
        raise InputError(f"init={config.init.name} needs init.path=FILE")
    _check_references(config)
    if not 0 < config.init.contrast <= 1:
        raise InputError(f"init.contrast is in (0, 1], not {config.init.contrast}")
    if not 0 <= config.optimizer.decay <= 1:
        raise InputError(f"optimizer.decay is a share of the steps, in [0, 1], not {config.optimizer.decay}")
    betas = config.optimizer.betas
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise InputError(f"optimizer.betas must be two numbers in [0, 1), not {betas}")
    _check_styles(config)
    _check_schedule(config)
    _check_layers(config)
    capture_steps(config.captures, config.steps)


def _check_references(config: RunConfig) -> None:
    images, weights = config.reference.images, config.reference.weights
    if weights and len(weights) != len(images):
        raise InputError(f"reference.weights needs a file for each of reference.images={images}, not {weights}")
    if images and config.color == "content":
        raise InputError(
            "reference.images cannot be combined with color=content, which changes the colours afterwards; use "
            "color=luminance"
        )


def _check_styles(config: RunConfig) -> None:
    styles, weights, scales = config.blend.styles, config.blend.weights, config.style_scale
    check_style_names("blend.styles", styles)
    if weights and not (
        len(weights) in (len(styles), len(styles) + 1)
        and all(0 <= weight < math.inf for weight in weights)
        and (math.fsum(weights) <= 1 + ROUNDING if len(weights) == len(styles) else sum(weights) > 0)
    ):
        raise InputError(
            f"blend.weights needs a share for each of blend.styles={styles}, with a sum of at most 1, or one number "
            f"more, with that of style first; not {weights}"
        )
    if config.blend.masks and len(config.blend.masks) != len(styles):
        raise InputError(f"blend.masks needs a mask for each of blend.styles={styles}, not {config.blend.masks}")
    if config.keep_unmasked and not config.content.mask:
        raise InputError("keep_unmasked needs content.mask=FILE: it keeps the regions that no style has")
    for scale in scales if isinstance(scales, list) and scales else [scales]:
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale <= LARGEST_SCALE:
            raise InputError(
                f"style_scale is a number above 0 and at most {LARGEST_SCALE}, or a list of them, not {scale}"
            )


def check_logger(config: Any) -> None:
    """Check the `logger` options: tracker, mode, tags and project.

    Raises:
        InputError: an unknown tracker or mode, or a tag or project that W&B does not take.
    """
    check_choices(config, LOGGER_CHOICES)
    for tag in config.logger.tags:
        if not 1 <= len(tag) <= 64:
            raise InputError(f"logger.tags: W&B takes tags of 1 to 64 characters, not {tag!r}")
    if set(config.logger.project) & set("/\\#?%:") or not config.logger.project:
        raise InputError(f"logger.project={config.logger.project!r}: W&B takes no / \\ # ? % : in a name")


def check_trainer(trainer: Device, precision: str) -> None:
    """Check the number of threads, and that the device computes in the precision.

    Raises:
        InputError: it does not, or the number is no sensible one.
    """
    if trainer.threads is not None and not 1 <= trainer.threads <= MOST_THREADS:
        raise InputError(f"trainer.threads must be in 1..{MOST_THREADS}, not {trainer.threads}")
    if trainer.accelerator == "mps" and precision == "64":
        raise InputError("precision=64 needs trainer=cpu or trainer=gpu: Apple's GPUs (mps) have no float64")


def _check_capacity(config: RunConfig) -> None:
    capacity = config.loss.capacity
    if capacity is None:
        return
    if not 1 <= capacity < math.inf:
        raise InputError(f"loss.capacity must be 1 or more, or null for no limit, not {capacity}")
    if "nearest" not in config.loss.terms:
        raise InputError("loss.capacity limits the term nearest: add loss.terms=[nearest], or leave it out")
    if masks(config):
        raise InputError(
            "loss.capacity cannot be combined with masks: it counts the uses by all positions of the picture"
        )


def _check_layers(config: RunConfig) -> None:
    if not config.layers.style:
        raise InputError("layers.style is empty; name at least one tap (loss.beta=0 leaves style out)")
    weights = config.layers.weights
    if weights is not None and (
        len(weights) != len(config.layers.style)
        or not all(math.isfinite(weight) and weight >= 0 for weight in weights)
        or not any(weights)
    ):
        raise InputError(f"layers.weights needs one number >= 0 for each of {config.layers.style}, not {weights}")
    by_block = config.loss.block_weights
    if by_block is not None and not (by_block and all(math.isfinite(weight) and weight > 0 for weight in by_block)):
        raise InputError(f"loss.block_weights needs a number above 0 for each block, or null, not {by_block}")
    if len(set(config.layers.style)) < len(config.layers.style):
        raise InputError(f"layers.style names a tap twice: {config.layers.style}")


def _check_schedule(config: RunConfig) -> None:
    schedule = config.schedule
    if schedule.name == "single" and schedule.sizes != 1:
        raise InputError(f"schedule=single has one size, not {schedule.sizes}; schedule=pyramid has several")
    if not 1 < schedule.factor < math.inf:
        raise InputError(f"schedule.factor must be above 1, as sizes grow, not {schedule.factor}")
    if schedule.last is not None and not 0 < schedule.last <= 1:
        raise InputError(f"schedule.last is a share of the steps, in (0, 1], not {schedule.last}")
    if schedule.first is not None and not 0 < schedule.first < 1:
        raise InputError(f"schedule.first is a share of the steps below full size, in (0, 1), not {schedule.first}")
    if schedule.smallest < SMALLEST_EDGE:
        raise InputError(f"schedule.smallest is {SMALLEST_EDGE} px or more, not {schedule.smallest}")
    if not 0 <= schedule.average < 1:
        raise InputError(f"schedule.average is a decay, in [0, 1), not {schedule.average}")
    if schedule.carry and config.canvas.space == "fourier":
        raise InputError(
            "schedule.carry needs another canvas.space than fourier: coefficients of two sizes do not match"
        )
    if config.optimizer.name != "adam" and (schedule.carry or schedule.average):
        raise InputError(
            "schedule.carry and schedule.average need optimizer=adam: L-BFGS has no moments to carry over and no noise "
            "to average out"
        )


def check_ranges(
    config: Any, positive: Iterable[str], not_negative: Iterable[str], largest: Mapping[str, float] | None = None
) -> None:
    """Check numbers by their dotted names: finite and positive, finite and not negative, not above a bound.

    Raises:
        InputError: with the bad value.
    """
    for name in positive:
        if not 0 < _value(config, name) < math.inf:
            raise InputError(f"{name} must be positive, not {_value(config, name)}")
    for name in not_negative:
        if not 0 <= _value(config, name) < math.inf:
            raise InputError(f"{name} must be zero or positive, not {_value(config, name)}")
    for name, bound in (largest or {}).items():
        if _value(config, name) > bound:
            raise InputError(f"{name} must be at most {bound}, not {_value(config, name)}")


def check_choices(config: Any, choices: Mapping[str, Collection[Any]]) -> None:
    """Check options by their dotted names: each has one of the known values.

    Raises:
        InputError: with the bad value and the known ones.
    """
    for name, known in choices.items():
        if (value := _value(config, name)) not in known:
            raise InputError(unknown_value(name.removesuffix(".name"), value, known))


def check_style_names(option: str, styles: Iterable[str]) -> None:
    """Check the styles of an option: each is the name of a style or looks like a file.

    Raises:
        InputError: with the unknown name and the known ones.
    """
    known = group_names("style")
    for style in styles:
        if "/" not in style and "." not in style and style not in known:
            raise InputError(f"{option}: {style} is unknown; a file, or one of: {', '.join(known)}")


def _value(config: Any, dotted: str) -> Any:
    value: Any = config
    for part in dotted.split("."):
        value = getattr(value, part)
    return value
