"""`clip.json`: the configuration of a stylised clip, the metadata of its file, and what was measured of each frame."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from src.tracking.command_record import CommandRecord

FILE = "clip.json"
VIDEO = "clip.mp4"
CONTENT, FRAMES = "content", "frames"


@dataclass(kw_only=True)
class ClipRecord(CommandRecord):
    """All that a report needs to know of a clip.

    Attributes:
        checksums: sha256 of the files that the clip reads, by the options that name them; `content` is the video.
        width, height: of the frames, px.
        rate: frames per second, as a fraction such as "25/1".
        begin: time of the first frame in the file, s, as a fraction.
        times: of the frames from the first one on, s, as fractions; empty until all are decoded.
        audio: codec of the sound that is kept; None without sound.
        cuts: numbers of the frames that begin a new scene, the first frame not among them.
        frames: what was measured in the last pass, by number of the frame, in the order they were painted: losses by
            metric name, `warping_error`, `seconds`.
    """

    file: ClassVar[str] = FILE
    kind: ClassVar[str] = "a clip"

    checksums: dict[str, str] = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    rate: str = "25/1"
    begin: str = "0/1"
    times: list[str] = field(default_factory=list)
    audio: str | None = None
    cuts: list[int] = field(default_factory=list)
    frames: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise a ValueError where a time is not a fraction."""
        for time in (self.rate, self.begin, *self.times):
            try:
                Fraction(time)
            except ZeroDivisionError:
                raise ValueError(f"{time} is not a fraction") from None

    @property
    def count(self) -> int:
        """Return the number of frames, 0 until all are decoded."""
        return len(self.times)

    def mean(self, name: str) -> float | None:
        """Return the mean of a measure over the frames that have it."""
        values = [values[name] for values in self.frames.values() if name in values]
        return sum(values) / len(values) if values else None

    def found(self) -> dict[str, Any]:
        """Return what is known before the first frame, for the loggers."""
        named = {key: getattr(self, key) for key in ("width", "height", "audio", "checksums")}
        return {**super().found(), **named, "frames": self.count, "rate": float(Fraction(self.rate))}

    def summary(self) -> dict[str, Any]:
        """Return the results, for the loggers: means over the frames."""
        names = dict.fromkeys(name for values in self.frames.values() for name in values if name != "seconds")
        means = {f"mean/{name}": self.mean(name) for name in names}
        return {**means, "cuts": len(self.cuts), **super().summary()}


def frame_name(number: int) -> str:
    """Return the name of a frame, and of its folder."""
    return f"{number:05d}"


def content_file(folder: Path, config: dict[str, Any], number: int) -> Path:
    """Return the file of a frame of the content; report and runs call the image by its name."""
    return folder / CONTENT / f"{clip_name(config)}-{frame_name(number)}.png"


def clip_name(config: dict[str, Any]) -> str:
    """Return the name of a clip: that of its file or folder."""
    return Path(config["content"]["path"]).stem


def clip_of(run: Path) -> Path | None:
    """Return the folder of the clip that a run folder is a frame of; None for other runs."""
    clip = run.parent.parent
    return clip if (clip / FILE).is_file() else None


def is_later_frame(run: Path) -> bool:
    """Return whether a run folder is that of a frame of a clip, except the first one's, which stands for the clip."""
    clip = clip_of(run)
    return clip is not None and run != clip / FRAMES / frame_name(0)
