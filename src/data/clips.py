"""Read and write video clips by PyAV, and folders of frames.

PyAV is the extra `video`. Its wheel holds FFmpeg with x264, which is under the GPL: depend on it, never bundle it.
"""

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from src.common.errors import InputError, first_line
from src.common.files import check_write, expanded
from src.common.packages import require
from src.data.images import read_image
from src.data.sources import sha256_of

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame

log = logging.getLogger(__name__)

FRAME_SUFFIXES: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
CODEC, QUALITY = "libx264", "18"  # H.264 at a constant quality that looks lossless
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # Hz
MP4_AUDIO = ("aac", "mp3", "ac3", "eac3", "alac", "opus")  # copied into an MP4; others become AAC
LIVE_FRAMES = 10  # in a fragment of a live recording: a kill loses no more than that
UNSPECIFIED = 2  # colour matrix of an FFmpeg frame


@dataclass(frozen=True)
class Frame:
    """A decoded frame, upright.

    Attributes:
        image: 8-bit RGB, of square pixels.
        time: s, by the clock of the file, which its sound has too.
    """

    image: Image.Image
    time: Fraction


@dataclass(frozen=True)
class Clip:
    """What the header of a clip tells.

    Attributes:
        path: a video file, or a folder of frames.
        rate: frames per second, the average where they are not evenly spaced.
        frames: number of frames; None where only decoding tells.
        audio: codec of the sound; None without sound.
    """

    path: Path
    rate: Fraction
    frames: int | None = None
    audio: str | None = None


def check_installed() -> None:
    """Check that the packages for video are there.

    Raises:
        InputError: one is missing; the message says how to install them.
    """
    needed = {"av": "av", "cv2": "opencv-python-headless", "imagecodecs": "imagecodecs", "tifffile": "tifffile"}
    require("video", "video", needed)


def check_clip(path: Path) -> None:
    """Check that a path is a folder or a regular file; reading a pipe or a device would never end.

    Raises:
        InputError: it is neither.
    """
    if not (path.is_dir() or path.is_file()):
        raise InputError(f"content.path: {'not a regular file' if path.exists() else 'no such file or folder'}: {path}")


def _aac_rate(rate: int) -> int:
    """Return a sampling rate in Hz if AAC has it, else 48 kHz, to which the sound is then resampled."""
    return rate if rate in AAC_RATES else 48000


def even_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return a size with even sides, rounded down: H.264 with colours at half the size needs them."""
    width, height = (max(2, side // 2 * 2) for side in size)
    return width, height


def open_clip(path: Path | str, rate: float | None = None) -> Clip:
    """Read the header of a video file, or list a folder of frames.

    Args:
        path: file or folder.
        rate: frames per second of a folder.

    Raises:
        InputError: there is none, it holds no video, or `rate` is given for a file.
    """
    path = expanded(path)
    check_clip(path)
    if path.is_dir():
        files = _frame_files(path)
        return Clip(path, Fraction(rate or 25).limit_denominator(1001), len(files))
    if rate is not None:
        raise InputError(f"video.rate is for a folder of frames; {path} has a rate of its own")
    with _opened(path) as container:
        stream = container.streams.video[0]
        sound = container.streams.audio[0].codec_context.name if container.streams.audio else None
        average = stream.average_rate or stream.guessed_rate or Fraction(25)
        return Clip(path, Fraction(average), stream.frames or None, sound)


def clip_sha256(path: Path) -> str:
    """Return the sha256 of a video file, or of the names and bytes of a folder of frames, hex.

    Raises:
        InputError: the folder holds no frames, or a file cannot be read.
    """
    try:
        if not path.is_dir():
            return sha256_of(path)
        digest = hashlib.sha256()
        for file in _frame_files(path):
            digest.update(f"{file.name}\0{sha256_of(file)}\n".encode())
        return digest.hexdigest()
    except OSError as error:
        raise InputError(f"content.path: cannot read {error.filename or path}: {error.strerror}") from None


def read_frames(clip: Clip, first: int = 0, count: int | None = None) -> Iterator[Frame]:
    """Decode the frames of a clip one after another.

    Args:
        clip: as `open_clip` returns it.
        first: the frames before this one are left out.
        count: of frames at most; None: all.

    Raises:
        InputError: a frame cannot be read.
    """
    yield from islice(_read_folder(clip, first) if clip.path.is_dir() else _read_video(clip.path, first), count)


def _frame_files(folder: Path) -> list[Path]:
    """Return the frames of a folder by the numbers in their names: frame2 comes before frame10."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES and path.is_file()]

    def parts(path: Path) -> list[str | int]:  # text and numbers in turn
        return [int(part) if at % 2 else part for at, part in enumerate(re.split(r"(\d+)", path.name))]

    files = sorted(sorted(found), key=parts)
    if not files:
        raise InputError(f"content.path: {folder} holds no frames ({' '.join(FRAME_SUFFIXES)})")
    return files


def _read_folder(clip: Clip, first: int) -> Iterator[Frame]:
    size: tuple[int, int] | None = None
    for number, path in list(enumerate(_frame_files(clip.path)))[first:]:
        image = read_image(path)
        if size not in (None, image.size):
            raise InputError(f"{path} is {image.width}x{image.height} px, the frames before it {size[0]}x{size[1]}")
        size = image.size
        yield Frame(image, number / clip.rate)


@contextmanager
def _opened(path: Path) -> Iterator["InputContainer"]:
    """Open a video file; errors of FFmpeg inside the block are one line."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"content.path: {path} holds no video")
            yield container
    except av.error.FFmpegError as error:
        raise InputError(f"content.path: {path} cannot be read as video: {_told(error)}") from None


def _told(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def _read_video(path: Path, first: int) -> Iterator[Frame]:
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        for number, frame in islice(enumerate(container.decode(stream)), first, None):
            # By convention untagged video of more than 576 lines is Rec. 709; FFmpeg would take it for Rec. 601.
            untagged = frame.colorspace == UNSPECIFIED and frame.height > 576
            image = frame.to_image(src_colorspace="ITU709") if untagged else frame.to_image()
            aspect = stream.sample_aspect_ratio or 1
            if aspect != 1:
                image = image.resize((max(1, round(image.width * aspect)), image.height), Image.Resampling.BICUBIC)
            yield Frame(_upright(image, frame.rotation), time_of(frame, number, rate))


def time_of(frame: "VideoFrame", number: int, rate: Fraction) -> Fraction:
    """Return the time of a frame of FFmpeg, s; by its number and the rate where it has none."""
    timed = frame.pts is not None and frame.time_base is not None
    return frame.pts * Fraction(frame.time_base) if timed else number / rate  # type: ignore[operator,arg-type]


def _upright(image: Image.Image, degrees: int) -> Image.Image:
    """Return an image turned by the rotation of its stream: degrees counter-clockwise, a multiple of 90."""
    transposes = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}
    transpose = transposes.get(round(degrees / 90) % 4)
    return image if transpose is None else image.transpose(transpose)


def write_clip(
    path: Path, frames: Iterable[Frame], rate: Fraction, sound: Path | None = None, live: bool = False
) -> int:
    """Write an MP4 file, whole or not at all unless `live`: H.264, Rec. 709, with the sound of another file copied.

    Args:
        path: the file.
        frames: of one size with even sides, in the order of their times; the first becomes time 0 of the clip.
        rate: frames per second.
        sound: file whose first sound track is used, by the clock of the frames.
        live: the frames cannot be reproduced, as of a camera: they are written in place, in fragments that play by
            themselves, and are kept whatever happens, even if the process is killed.

    Returns:
        The number of frames.

    Raises:
        InputError: it cannot be written.
    """
    import av

    temporary = path if live else path.with_name(f".{path.stem}.part.mp4")
    file_options, options = {"movflags": "+faststart"}, {"crf": QUALITY}
    if live:
        file_options = {"movflags": "+frag_keyframe+empty_moov", "flush_packets": "1"}
        options |= {"g": str(LIVE_FRAMES), "tune": "zerolatency"}  # the encoder holds no frames back
    # about 1/90000 s, and a fraction of 1/numerator of the rate, so that times of frames at the rate are exact
    base = Fraction(1, rate.numerator * (90000 // rate.numerator) if rate.numerator <= 90000 else 90000)
    count, begin, end, last = 0, Fraction(0), Fraction(0), -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(temporary), "w", options=file_options) as container:
            stream: Any = container.add_stream(CODEC, rate=rate, options=options)
            stream.pix_fmt, stream.time_base, stream.codec_context.time_base = "yuv420p", base, base
            tags = {"color_primaries": 1, "color_trc": 1, "colorspace": 1, "color_range": 1}  # Rec. 709, limited
            for name, value in tags.items():
                setattr(stream.codec_context, name, value)
            track = _Sound(container, sound) if sound is not None else None
            for frame in frames:
                if not count:
                    begin = frame.time
                    stream.width, stream.height = frame.image.size
                encoded = av.VideoFrame.from_ndarray(np.asarray(frame.image), format="rgb24")
                encoded = encoded.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
                last = max(last + 1, round((frame.time - begin) / base))  # MP4 takes no two frames of one time
                encoded.pts, encoded.time_base = last, base
                container.mux(stream.encode(encoded))
                count, end = count + 1, frame.time + 1 / rate
            container.mux(stream.encode(None))
            if track is not None:
                track.write(begin, end)
        check_write()
        if not live:
            temporary.replace(path)
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"cannot write {path}: {_told(error)}") from error
    finally:
        if not live or not count:
            temporary.unlink(missing_ok=True)
    return count


class _Sound:
    """Copies the sound of a file into another, or encodes it as AAC where an MP4 cannot hold it as it is.

    Args:
        container: the file to write.
        source: the file with the sound.
    """

    def __init__(self, container: "OutputContainer", source: Path) -> None:
        self.container, self.source = container, source
        with _opened(source) as found:
            track: AudioStream = found.streams.audio[0]
            self.copies = track.codec_context.name in MP4_AUDIO
            self.stream: Any = (
                container.add_stream_from_template(track)
                if self.copies
                else container.add_stream("aac", rate=_aac_rate(track.codec_context.sample_rate))
            )

    def write(self, begin: Fraction, end: Fraction) -> None:
        """Write what sounds between two times of the source, s, from time 0 on."""
        with _opened(self.source) as found:
            track = found.streams.audio[0]
            tick: Any = track.time_base
            shift = round(begin / tick)
            for packet in found.demux(track):
                if packet.pts is not None and not begin <= packet.pts * tick < end:
                    continue
                if self.copies:
                    if packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts - shift, (packet.dts or packet.pts) - shift
                    packet.stream = self.stream
                    self.container.mux(packet)
                    continue
                for frame in packet.decode():  # the last packet has no time, and gets what the decoder held back
                    frame.pts = None if frame.pts is None else frame.pts - shift
                    self.container.mux(self.stream.encode(frame))
            if not self.copies:
                self.container.mux(self.stream.encode(None))
