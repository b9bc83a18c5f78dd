"""The typed configuration of a run: names, types, defaults and help of all options.

Hydra fills it from the files under conf/; Python code can build it without them. It imports nothing heavy, because
`--help` reads it.
"""

import dataclasses
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from src.common.errors import InputError
from src.config.options import option, unknown_option
from src.config.score import Score

# What `format=` writes, and the suffix of its files.
SUFFIXES = {"png": "png", "jpeg": "jpg", "tiff": "tiff", "webp": "webp"}
# Names of init= that start from init.path.
FILE_STARTS = ("file", "frame")
# Names of init= that need init.path.
PATH_STARTS = (*FILE_STARTS, "network")
CONF = Path(__file__).resolve().parents[2] / "conf"


# What OmegaConf calls a type -> what a user is told.
KINDS = {"integer": "a whole number", "float": "a number", "bool": "true or false", "string": "text"}


def group_names(group: str) -> list[str]:
    """Return the names that GROUP=NAME accepts: the files of conf/GROUP."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@dataclass
class Picture:
    """A content or style image. Exactly one of path, package and url says where it is."""

    name: str = option("file", "name in folders, records and plots; for a path, the file's stem")
    path: str | None = option(None, "path of an image file")
    package: str | None = option(None, "PACKAGE:FILE inside an installed package")
    url: str | None = option(None, "address to download from, cached")
    sha256: str | None = option(None, "checksum of the file, verified when given")
    mask: str | None = option(
        None,
        "mask, an image file: each grey value or colour is a region, painted from the styles' regions of that value; "
        "or one value for the whole image, such as 0 or #ff0000; null: 255, white",
    )
    title: str | None = option(None, "what it shows")
    artist: str | None = option(None, "who painted or photographed it")
    year: str | None = option(None, "when it was made")
    licence: str | None = option(None, "licence, where known")


@dataclass
class Blend:
    """Styles that are mixed with `style`: statistics of features and colours are those of the weighted mixture."""

    styles: list[str] = option([], "further styles: names of style=NAME, or files, as [dots,my.jpg]")
    weights: list[float] = option(
        [],
        "a share for each of blend.styles, and style gets what is left of 1; or one number more, the first for style, "
        "scaled to a sum of 1; []: equal shares",
    )
    masks: list[str] = option([], "their masks, as style.mask; []: all white")


@dataclass
class Layers:
    """Activations that style and content are read from: relu3_1 is after the ReLU, conv3_1 before it."""

    name: str = option("e", "name of the layer set")
    style: list[str] = option([f"relu{block}_1" for block in range(1, 6)], "style taps")
    content: str = option("relu3_1", "content tap")
    weights: list[float] | None = option(
        None,
        "weight of each style tap; default: loss.block_weights scaled to a sum of 1 (loss=published, mean_squares and "
        "gram_mean_std: 1 each)",
    )


@dataclass
class Loss:
    """Weights and forms of the terms.

    L_total = alpha * (L_content + self_similarity * L_self_similarity)
              + beta * (L_style + L_patches + palette * L_palette) + tv * L_tv + reference * L_reference
              (eq. 7, extended)
    """

    name: str = option(
        "moments", "moments | patches | normalized | equations | published | mean_squares | gram_mean_std"
    )
    terms: list[str] = option(
        [],
        "style terms: gram | moments | mean_std | wasserstein | absolute_wasserstein | sliced_wasserstein | cmd | "
        "nearest, one or several, as [wasserstein,nearest]; []: the statistics of loss=NAME",
    )
    term_weights: list[float] | None = option(None, "weight of each of loss.terms relative to loss.beta; null: 1 each")
    capacity: float | None = option(
        None, "nearest: a style column is matched at most this many times its equal share, 1 or more; null: no limit"
    )
    patches: float = option(0.0, "fraction of the style loss that compares patches, not statistics (loss=patches: 0.2)")
    palette: float = option(0.3, "weight of the palette term relative to beta (0 except with loss=moments and patches)")
    self_similarity: float = option(
        2.0,
        "weight, relative to alpha, of the self-similarity term: preserves which parts of the content resemble each "
        "other (0 except with loss=moments and patches)",
    )
    rematch: int = option(
        20, "recompute the matches of patches and nearest, redraw sliced_wasserstein's directions every N steps"
    )
    alpha: float = option(1.0, "content weight; 0: style only")
    beta: float = option(10.0, "style weight; 0: content only")
    tv: float = option(2.0, "total variation weight (0 except with loss=moments and patches)")
    tv_form: str = option("absolute", "absolute differences | squares | stencil (squares, diagonals too)")
    reference: float = option(1000.0, "weight of the mean squared distance to reference.images")
    jump: float = option(1.5, "adam: halve an update that takes the loss to over this many times its value; 0: never")
    content_tap: str = option("relu3_1", "default of layers.content")
    block_weights: list[float] | None = option(
        [1, 1, 6, 3, 0.5], "relative weights of the style taps by block; null (the default of other forms): all alike"
    )
    substitute: dict[str, str] = option({}, "taps to replace by others, as {relu5_1: conv5_1} (loss=published)")


@dataclass
class Backbone:
    """The frozen network that features are read from."""

    name: str = option(
        "embedded",
        "embedded | vgg19 | vgg16 | vgg19_caffe | vgg16_caffe (the authors' weights) | resnet50 | googlenet | "
        "inception_v3 | efficientnet_lite0 | convnext_tiny | alexnet | squeezenet",
    )
    weights: str = option("trained", "trained (embedded: shipped; others: ImageNet, downloaded) | random | PATH")
    pool: str = option("blur", "blur (binomial, against aliasing) | avg | max; own for networks other than VGG")
    swag: str = option(
        "off",
        "smooth the activations, for ResNet and the like: off | paper (softmax over each layer) | released (stages 4 "
        "and 5 times 0.001)",
    )
    seed: int = option(0, "seed of random weights")
    sha256: str | None = option(None, "checksum (or its first digits) of the weights file")
    url: str | None = option(None, "alternative download URL of the ImageNet weights")


@dataclass
class Init:
    """Where the image starts."""

    name: str = option(
        "content",
        "content | recolored (in the style's colours) | noise | style | file | frame (a file that shows the content, "
        "such as a warped video frame) | network (what a feed-forward network makes of the content)",
    )
    path: str | None = option(
        None,
        "the picture to start from (init=file, init=frame), or the network (init=network), as weights= of src.paint",
    )
    contrast: float = option(1.0, "range of init=noise around mid-grey; near 0: an almost even grey")


@dataclass
class Reference:
    """Images that the result stays near; docs/video.md."""

    images: list[str] = option([], "files of images; []: none")
    weights: list[str] = option(
        [], "files of grey images, one for each: how much a pixel counts, black 0 to white 1; []: 1 everywhere"
    )


@dataclass
class Optimizer:
    """Optimiser and learning rate."""

    name: str = option("adam", "adam | lbfgs (strong-Wolfe line search)")
    lr: float = option(0.02, "learning rate, in units of the canvas space")
    betas: list[float] = option([0.8, 0.95], "adam: decay of the first and second moments")
    history: int = option(20, "lbfgs: curvature pairs kept")
    rise: int = option(10, "adam: warm-up steps of the learning rate at each size")
    decay: float = option(0.5, "adam: last fraction of the steps, in which the learning rate falls to zero")


@dataclass
class Schedule:
    """Coarse-to-fine sizes and what is carried from one to the next."""

    name: str = option("pyramid", "pyramid | single | simultaneous (losses at several halvings of the image at once)")
    sizes: int = option(4, "number of sizes; none has a long side below 64 px")
    factor: float = option(2**0.5, "each size is this many times the one before")
    last: float | None = option(0.5, "fraction of the steps at full size (null: an equal share); others share the rest")
    first: float | None = option(
        None, "the smallest size's fraction of the steps below full size; null: an equal share"
    )
    smallest: int = option(500, "simultaneous: halve the image while its long side does not fall below this, px")
    carry: bool = option(False, "adam: start each size with the resized moments of the size before")
    average: float = option(0.0, "adam: decay of a running average of the image, which becomes the result; 0: none")


@dataclass
class Canvas:
    """How the image is parametrised."""

    space: str = option(
        "laplacian",
        "laplacian (changes at several resolutions; colour changes only at the coarser levels, or at every level for "
        "init=noise, style and file) | pixel (sRGB in [0, 1]) | normalized (by the backbone's mean and std) | fourier "
        "(coefficients in decorrelated colours; lr about 0.05)",
    )
    clamp: bool = option(True, "keep the image in [0, 1] (never under lbfgs)")
    views: str | None = option(
        None, "the content is a texture, seen through the cameras of this file, which python -m src.mesh writes"
    )
    turns: int = option(
        1, "views: camera sets of the file to use, one after another, for equal shares of the steps at full size"
    )


@dataclass
class Logger:
    """Experiment trackers."""

    name: str = option("wandb", "wandb | tensorboard | mlflow (each beside metrics.csv) | csv | none")
    project: str = option("neural-style", "W&B project, MLflow experiment")
    entity: str | None = option(None, "W&B user or team")
    tags: list[str] = option([], "tags of the run")
    mode: str = option("auto", "W&B: auto (online when a key is set and the server answers) | online | offline")


@dataclass
class Device:
    """Device and CPU threads."""

    accelerator: str = option("auto", "auto | cpu | gpu | cuda | mps")
    threads: int | None = option(None, "CPU threads; default: SLURM_CPUS_PER_TASK, else torch's choice")


@dataclass
class Trainer(Device):
    """Device, compilation, kernels and memory of activations."""

    compile: str = option(
        "auto", "torch.compile: auto (long runs that save more than the compile time) | always | never"
    )
    memory: str = option("auto", "activation checkpointing: auto (as memory allows) | whole | checkpointed | tiled")
    kernels: str = option("auto", "compiled CPU kernels: auto (where they can be built) | off (PyTorch's operators)")


@dataclass
class RunConfig:
    """One run: a pair of images and all options."""

    content: Picture = option(Picture, "content image")
    style: Picture = option(Picture, "style image")
    blend: Blend = option(Blend, "further styles")
    style_scale: Any = option(
        1.0,
        "size of the styles relative to edge; several, as [1,0.5]: each style at all of these sizes, in equal parts",
    )
    guides: str = option("simple", "masks at deep layers: simple (resampled) | inside | all (whole receptive fields)")
    keep_unmasked: bool = option(False, "keep the content's pixels in the regions that no style has")
    layers: Layers = option(Layers, "layer set")
    loss: Loss = option(Loss, "objective")
    backbone: Backbone = option(Backbone, "network")
    init: Init = option(Init, "starting image")
    reference: Reference = option(Reference, "images that the result stays near")
    optimizer: Optimizer = option(Optimizer, "optimiser")
    schedule: Schedule = option(Schedule, "coarse-to-fine sizes")
    canvas: Canvas = option(Canvas, "parametrisation")
    logger: Logger = option(Logger, "tracking")
    trainer: Trainer = option(Trainer, "device")
    score: Score = option(Score, "score for sweeps")
    steps: int = option(150, "optimiser steps")
    captures: list[Any] = option(
        [0.33, 0.67, 1.0],
        "when pictures are saved: fractions of the steps (0.33, 1.0) or step numbers (100); always after the last step",
    )
    stop_at_loss: float | None = option(
        None,
        "stop when the total loss at full size is at or below this (on a GPU tested every 10 steps); "
        "with canvas.turns, in the last turn",
    )
    edge: int = option(356, "long side of the result, px")
    color: str = option(
        "style",
        "colours of the result: style | luminance (optimise brightness, keep the content's chroma) | match (first give "
        "the style image the content's colours) | content (the result's lightness with the content's colours)",
    )
    fit: str = option("keep", "keep the aspect ratio | squash both images to edge x edge")
    format: str = option("png", "file format of the result and the captures: png | jpeg | tiff | webp (lossless)")
    depth: int = option(8, "bits of a channel: 8 | 16 (png and tiff)")
    seed: int = option(0, "seed of init=noise and of sliced_wasserstein's directions")
    precision: str = option(
        "auto", "auto (bf16 where the hardware has it, else 32) | bf16 (convolutions, patch search) | 32 | 64"
    )
    log_every: int = option(10, "steps between logged points")
    checkpoint_every: int = option(50, "steps between checkpoints")
    preview_every: int = option(
        0, "steps between previews: preview.jpg in the run folder, overwritten each time, for live viewing; 0: none"
    )
    max_megapixels: float = option(100.0, "largest image accepted, as a file and at working size")
    mirror: str | None = option(None, "folder to take known images and weights from instead of downloading them")
    resume: str | None = option(
        None, "DIR or last: resume an interrupted run; with more steps, continue a finished one"
    )
    preset: str | None = option(None, "name of the program whose settings a preset has; reports group runs by it")
    study: str | None = option(None, "name of the search that the run is a trial of; set by python -m src.search")
    trial: int | None = option(None, "number of the trial")


Schema = TypeVar("Schema")


@overload
def typed(config: "RunConfig | DictConfig | dict[str, Any]") -> RunConfig: ...
@overload
def typed(config: "DictConfig | dict[str, Any]", schema: type[Schema]) -> Schema: ...
def typed(config: Any, schema: Any = RunConfig) -> Any:
    """Return a `RunConfig` (or another schema), every value converted to its type.

    Raises:
        InputError: an unknown field, or a value of another type.
    """
    if isinstance(config, RunConfig):
        config = plain(config)
    try:
        given = OmegaConf.to_container(
            config if isinstance(config, DictConfig) else OmegaConf.create(config), resolve=True
        )
        return OmegaConf.to_object(OmegaConf.merge(_structure(schema), given))
    except OmegaConfBaseException as error:
        name = str(error.full_key)
        unknown = isinstance(error, ConfigKeyError)
        told = unknown_option(name, schema) if unknown else f"{name or schema.__name__}: {wrong_type(str(error))}"
        raise InputError(told) from error


@cache
def _structure(schema: type) -> DictConfig:
    structure: DictConfig = OmegaConf.structured(schema)  # slow; `OmegaConf.merge` copies it
    return structure


def wrong_type(text: str) -> str:
    """Return what a value must be, given OmegaConf's message on one of another type."""
    if found := re.search(r"could not be converted to (\w+)|is not a valid (bool)|Cannot convert .* to (string)", text):
        return f"{KINDS[(found[1] or found[2] or found[3]).lower()]} is needed"
    if "object_type=dict" in text or "to Dict[" in text or "not a subclass" in text:
        return "names with values are needed: {a:1}"
    if "ListConfig" in text:
        return "a list is needed: [1,2]"
    return "null is not possible here" if "not Optional" in text or "'None'" in text else text.splitlines()[0]


def run_part(config: RunConfig) -> RunConfig:
    """Return the options of a run out of a command's larger configuration."""
    return RunConfig(**{field.name: getattr(config, field.name) for field in dataclasses.fields(RunConfig)})


def plain(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain dicts and lists, ready for JSON."""
    return dataclasses.asdict(config)


def known_picture(kind: str, name: str) -> Picture:
    """Return the image that `content=NAME` or `style=NAME` (`kind`) chooses."""
    options: Any = OmegaConf.load(CONF / kind / f"{name}.yaml")
    return typed(options, Picture)


def style_picture(style: str) -> Picture:
    """Return a style image by its name; anything that is not a style name is treated as a file path."""
    known = style != "file" and style in group_names("style")
    return known_picture("style", style) if known else Picture(path=style)


def blended(config: RunConfig) -> list[Picture]:
    """Return the images of `blend.styles`."""
    return [style_picture(style) for style in config.blend.styles]


def masks(config: RunConfig) -> dict[str, str]:
    """Return the masks that are given, files or labels, by their options."""
    given = {"content.mask": config.content.mask, "style.mask": config.style.mask}
    given |= {f"blend.masks[{place}]": mask for place, mask in enumerate(config.blend.masks)}
    return {option: mask for option, mask in given.items() if mask}


def is_label(mask: str) -> bool:
    """Return whether a mask is the label of a region, not a file: a grey value, or #rrggbb."""
    return bool(re.fullmatch(r"\d{1,5}|#[0-9a-fA-F]{6}", mask))


def is_network_name(init: Init) -> bool:
    """Return whether a start is by a network that comes with the program, named without its path."""
    return init.name == "network" and not set(init.path or "/") & set("/.~")


ROUNDING = 1e-9  # of a sum of shares


def style_shares(config: RunConfig) -> list[float]:
    """Return the share of `style` and of each of `blend.styles`; their sum is 1."""
    weights, count = config.blend.weights, 1 + len(config.blend.styles)
    if not weights:
        return [1 / count] * count
    rest = 1 - math.fsum(weights)
    weights = weights if len(weights) == count else [rest if rest > ROUNDING else 0.0, *weights]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def style_scales(config: RunConfig) -> list[float]:
    """Return the sizes of the styles relative to `edge`, as `style_scale` gives one or several."""
    given = config.style_scale
    return [float(scale) for scale in given] if isinstance(given, list) else [float(given)]


def picture_name(picture: Picture) -> str:
    """Return the name of an image; for `content=file` the stem of its path."""
    return Path(picture.path).stem if picture.path and picture.name == "file" else picture.name


PREVIEW = "preview.jpg"  # in the folder of a run at work, where preview_every asks for it


def result_file(config: RunConfig) -> str:
    """Return the name of the file that holds the result of a run, in its folder."""
    return f"image.{SUFFIXES[config.format]}"
