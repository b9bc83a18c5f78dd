"""Options of `python -m src.video`: those of a run, and how frames are linked."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from src.common.errors import InputError
from src.common.files import expanded
from src.config.identity import differing, identity, named
from src.config.options import option
from src.config.schema import Loss, Picture, RunConfig, run_part, typed
from src.config.validation import WEIGHTS, check_choices, check_ranges
from src.data.clips import check_clip, clip_sha256
from src.data.sources import find_picture, inputs_of, sha256_of
from src.transfer.checks import check_options

FLOWS = ("dis", "raft")
MOST_OFFSET = 1000
LEAST_RATE = 0.01  # frames per second


@dataclass
class Video:
    """How the frames of a clip are read and linked."""

    first: int = option(0, "number of the first frame to use")
    frames: int | None = option(None, "frames to use at most; null: all")
    rate: float | None = option(None, "frames per second of a folder of frames; null: 25")
    steps: int = option(
        40, "optimiser steps of a frame that starts from its warped predecessor; steps= applies to all other frames"
    )
    linked: bool = option(True, "start from the warped predecessor and stay near it; false: each frame by itself")
    offsets: list[int] = option([1, 2, 4], "distances to the earlier frames that a frame is kept close to, ascending")
    passes: int = option(1, "passes over the clip, back and forth")
    blend: float = option(0.5, "from the second pass on: share of the warped neighbour in a frame's start")
    flow: str = option("dis", "optical flow: dis (OpenCV) | raft (torchvision's network; downloads 20 MB of weights)")
    cut: float = option(
        0.4, "a scene begins where less than this share of a frame is found in the frame before; 0: never"
    )


@dataclass
class VideoConfig(RunConfig):
    """A clip: the run of its first frame, and how frames are linked.

    Attributes:
        folder_names: groups for which a folder is one value; elsewhere it is a sweep over its images.
    """

    folder_names: ClassVar[tuple[str, ...]] = ("content",)

    video: Video = option(Video, "frames")


VIDEO_OPTIONS = ("video",)


def specification(config: VideoConfig) -> dict[str, Any]:
    """Return what identifies a clip: the run, without captures, which no frame keeps, and how frames are linked."""
    run = dataclasses.replace(run_part(config), captures=RunConfig().captures)
    found = {**identity(run), "video": dataclasses.asdict(config.video)}
    reference = config.loss.reference
    if config.video.linked and reference != Loss().reference:  # an identity has it only beside reference images
        found["loss"] = {**found["loss"], "reference": reference}
    return found


def difference(config: VideoConfig, recorded: dict[str, Any]) -> str:
    """Return the names, as text, of the options that make this another clip than one of recorded options."""
    return differing(specification(config), specification(typed(recorded, VideoConfig)))


def job_folder(config: VideoConfig) -> str:
    """Check a clip and return the name of its folder.

    Raises:
        InputError: names the bad value and what would be right.
    """
    check(config)
    return named(config, specification(config))


def check(config: VideoConfig) -> None:
    """Check the options of a clip, and the files beside the clip itself.

    Raises:
        InputError: names the bad value and what would be right.
    """
    run, video = run_part(config), config.video
    if not config.content.path:
        raise InputError("content.path=CLIP is missing: a video file or a folder of frames")
    check_clip(expanded(config.content.path))
    if config.resume is not None:
        raise InputError("a clip takes no resume=; repeat the same command to continue it")
    if config.reference.images:
        raise InputError("leave reference.images out: python -m src.video sets it to the previous frames")
    if config.format == "jpeg":
        raise InputError("format=jpeg would lose detail from frame to frame; use png, tiff or webp")
    if config.color == "content" and video.linked:
        raise InputError("color=content changes frames after they are optimised; use color=luminance or match")
    check_ranges(config, ("video.steps", "video.passes"), ("video.first", "video.cut"))
    for name in ("cut", "blend"):
        if not 0 <= getattr(video, name) <= 1:
            raise InputError(f"video.{name} is a share, in [0, 1], not {getattr(video, name)}")
    if video.frames is not None and video.frames < 1:
        raise InputError(f"video.frames must be positive, or null for all, not {video.frames}")
    if video.rate is not None and not LEAST_RATE <= video.rate < math.inf:
        raise InputError(f"video.rate must be at least {LEAST_RATE}, not {video.rate}")
    offsets = video.offsets
    if not offsets or sorted(set(offsets)) != offsets or not 1 == offsets[0] <= offsets[-1] <= MOST_OFFSET:
        raise InputError(f"video.offsets are ascending numbers of frames that begin with 1, as [1,2,4], not {offsets}")
    if video.passes > 1 and not video.linked:
        raise InputError("video.passes needs video.linked=true")
    check_choices(config, {"video.flow": FLOWS})
    check_options(run)
    for kind, picture in inputs_of(run).items():
        if kind != "content" and (picture.path or picture.package):
            find_picture(kind, picture)


def checksums(config: VideoConfig, local: bool = False) -> dict[str, tuple[Path, str]]:
    """Return path and sha256 of the files that a clip reads, by the options that name them.

    That of a folder of frames is the checksum of their names and bytes.

    Args:
        config: of the clip; checked.
        local: leave out images that may have to be downloaded.

    Raises:
        InputError: a file cannot be read or downloaded.
    """
    source = expanded(config.content.path or "")
    found = {"content": (source, clip_sha256(source))}
    for kind, picture in inputs_of(run_part(config)).items():
        if kind != "content" and (picture.path or not local):
            file = find_picture(kind, picture, config.mirror)
            found[kind] = file.path, file.sha256
    weights = config.backbone.weights
    if weights not in WEIGHTS and expanded(weights).is_file():
        found["backbone.weights"] = expanded(weights), sha256_of(expanded(weights))
    return found


def content_of(config: VideoConfig, path: str) -> Picture:
    """Return the content of a frame: the clip's, with a frame's file."""
    return dataclasses.replace(config.content, name="file", path=path, package=None, url=None, sha256=None)
