"""Clips are read and written with their frames, times, rotation and sound."""

import os
import shutil
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.common.errors import InputError
from src.data import clips
from src.data.clips import Frame, open_clip, read_frames, write_clip
from tests.support.clips import moving, real_clip, timed, turn_clockwise, write_folder, write_sounding

av = pytest.importorskip("av")


def _difference(one: Image.Image, two: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(two, np.float64)).mean())


def _images(frames: list[Frame]) -> list[Image.Image]:
    return [frame.image for frame in frames]


def _sound(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(container.streams.audio[0])], 1)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60)])
def test_frames_times_and_rate_survive_a_round_trip(rate: Fraction, tmp_path: Path) -> None:
    frames = moving(7)
    times = [at / rate for at in range(7)]
    assert write_clip(tmp_path / "clip.mp4", timed(frames, times), rate) == 7
    clip = open_clip(tmp_path / "clip.mp4")
    found = list(read_frames(clip))
    assert clip.rate == rate and clip.frames == 7 and clip.audio is None
    assert all(abs(frame.time - time) < Fraction(1, 50000) for frame, time in zip(found, times, strict=True))
    assert max(_difference(mine.image, theirs) for mine, theirs in zip(found, frames, strict=True)) < 6
    shown, given = np.stack(list(map(np.asarray, _images(found)))), np.stack(list(map(np.asarray, frames)))
    shift = (shown.astype(float) - given).mean((0, 1, 2))
    assert np.abs(shift).max() < 2, "no shift of colours between Rec. 601 and 709, or full and limited range"


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [Fraction(at, 1000) for at in (0, 40, 65, 200, 1040)]
    write_clip(tmp_path / "clip.mp4", timed(moving(5), times), Fraction(25))
    found = [frame.time for frame in read_frames(open_clip(tmp_path / "clip.mp4"))]
    assert all(abs(mine - theirs) < Fraction(1, 20000) for mine, theirs in zip(found, times, strict=True))


def test_times_are_kept_where_the_rate_is_an_average(tmp_path: Path) -> None:
    rate = Fraction(9990000, 333167)  # as phones write it
    times = [Fraction(at, 1000) for at in (0, 17, 33, 50, 83, 117)]
    write_clip(tmp_path / "clip.mp4", timed(moving(6), times), rate)
    found = [frame.time for frame in read_frames(open_clip(tmp_path / "clip.mp4"))]
    assert all(abs(mine - theirs) < Fraction(1, 20000) for mine, theirs in zip(found, times, strict=True))


def test_frames_of_one_time_follow_each_other(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", timed(moving(3), [Fraction(0), Fraction(0), Fraction(1, 25)]), Fraction(25))
    found = [frame.time for frame in read_frames(open_clip(tmp_path / "clip.mp4"))]
    assert len(found) == 3 and found == sorted(set(found))


def test_some_frames_with_their_own_time(tmp_path: Path) -> None:
    frames = moving(9)
    write_clip(tmp_path / "clip.mp4", timed(frames, [Fraction(at, 10) for at in range(9)]), Fraction(10))
    found = list(read_frames(open_clip(tmp_path / "clip.mp4"), first=3, count=2))
    assert [frame.time for frame in found] == [Fraction(3, 10), Fraction(4, 10)]
    assert _difference(found[0].image, frames[3]) < 4


def test_rotation_is_applied(tmp_path: Path) -> None:
    frames = moving(2)
    path = tmp_path / "clip.mp4"
    write_clip(path, timed(frames, [Fraction(0), Fraction(1, 10)]), Fraction(10))
    turn_clockwise(path)
    upright = next(read_frames(open_clip(path))).image
    assert upright.size == (48, 64)
    assert _difference(upright, frames[0].transpose(Image.Transpose.ROTATE_270)) < 4


def _pitch(sound: np.ndarray, rate: int) -> float:
    """Return the strongest frequency of samples taken `rate` times a second, Hz."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(spectrum.argmax()) * rate / len(sound)


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "mp4"), ("flac", "mkv")])
def test_the_sound_of_the_used_part_is_kept(codec: str, suffix: str, tmp_path: Path) -> None:
    source = write_sounding(tmp_path / f"source.{suffix}", moving(20), codec=codec)
    clip = open_clip(source)
    assert clip.audio == codec
    used = list(read_frames(clip, first=5, count=10))
    write_clip(tmp_path / "out.mp4", used, clip.rate, source)
    result = open_clip(tmp_path / "out.mp4")
    assert result.audio == "aac" and len(list(read_frames(result))) == 10
    sound = _sound(tmp_path / "out.mp4")
    assert sound.shape[1] == pytest.approx(16000, abs=3000), "one second, in whole packets"
    assert _pitch(sound[0, 4000:12000], 16000) == pytest.approx(440, abs=4)


def test_sound_of_a_rate_that_aac_lacks_is_resampled(tmp_path: Path) -> None:
    source = write_sounding(tmp_path / "source.mkv", moving(10), codec="flac", sampled=192_000)
    write_clip(tmp_path / "out.mp4", read_frames(open_clip(source)), Fraction(10), source)
    sound = _sound(tmp_path / "out.mp4")[0]
    assert len(sound) == pytest.approx(48_000, abs=3000), "one second"
    assert _pitch(sound[4000:44_000], 48_000) == pytest.approx(440, abs=4)


def test_the_last_samples_that_a_decoder_holds_back_are_kept(tmp_path: Path) -> None:
    def length(path: Path) -> int:
        return int(np.ptp(np.flatnonzero(np.abs(_sound(path)[0]) > 0.1)))

    source = write_sounding(tmp_path / "source.wmv", moving(7), codec="wmav2")
    write_clip(tmp_path / "out.mp4", timed(moving(10), [Fraction(at, 10) for at in range(10)]), Fraction(10), source)
    assert length(tmp_path / "out.mp4") == pytest.approx(length(source), abs=150), "samples; the decoder holds 512 back"


def test_a_folder_of_frames_is_a_clip(tmp_path: Path) -> None:
    frames = moving(4)
    folder = write_folder(tmp_path / "frames", frames)
    (folder / "notes.txt").write_text("no frame")
    clip = open_clip(folder, rate=12.5)
    found = list(read_frames(clip))
    assert clip.frames == 4 and [float(frame.time) for frame in found] == [0, 0.08, 0.16, 0.24]
    assert all(_difference(mine.image, theirs) == 0 for mine, theirs in zip(found, frames, strict=True))
    (later,) = read_frames(clip, first=2, count=1)
    assert float(later.time) == 0.16 and _difference(later.image, frames[2]) == 0
    Image.new("RGB", (20, 20)).save(folder / "0004.png")
    with pytest.raises(InputError, match="is 20x20 px, the frames before it 64x48"):
        list(read_frames(clip))


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = moving(5)
    (tmp_path / "frames").mkdir()
    for name, frame in zip(("end", "frame2", "frame9", "frame10", "z1"), frames, strict=True):
        frame.save(tmp_path / f"frames/{name}.png")
    found = _images(list(read_frames(open_clip(tmp_path / "frames"))))
    assert all(_difference(mine, theirs) == 0 for mine, theirs in zip(found, frames, strict=True))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mp4", "content.path: no such file or folder: .*missing.mp4"),
        ("pipe.mp4", "content.path: not a regular file: .*pipe.mp4"),
        ("empty", "content.path: .*empty holds no frames"),
        ("text.mp4", "content.path: .*text.mp4 cannot be read as video: Invalid data"),
        ("tone.mp4", "content.path: .*tone.mp4 holds no video"),
    ],
)
def test_what_is_no_clip_is_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "text.mp4").write_text("not a video" * 100)
    with av.open(str(tmp_path / "tone.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match=message):
        open_clip(tmp_path / name)


def test_a_rate_is_for_folders(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", timed(moving(2), [Fraction(0), Fraction(1, 10)]), Fraction(10))
    with pytest.raises(InputError, match=r"video.rate is for a folder of frames"):
        open_clip(tmp_path / "clip.mp4", rate=10)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("old")

    def broken() -> Iterator[Frame]:
        yield Frame(moving(1)[0], Fraction(0))
        raise InputError("a frame is damaged")

    with pytest.raises(InputError, match="a frame is damaged"):
        write_clip(path, broken(), Fraction(10))
    assert path.read_text() == "old" and [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_live_recording_plays_while_it_is_written_and_is_kept_after_an_error(tmp_path: Path) -> None:
    path, frames = tmp_path / "clip.mp4", moving(2 * clips.LIVE_FRAMES + 5)

    def failing() -> Iterator[Frame]:
        yield from timed(frames, [Fraction(at, 10) for at in range(len(frames))])
        shutil.copy(path, tmp_path / "killed.mp4")  # what a kill would leave
        raise RuntimeError("CUDA error")

    with pytest.raises(RuntimeError):
        write_clip(path, failing(), Fraction(10), live=True)
    killed = _images(list(read_frames(open_clip(tmp_path / "killed.mp4"))))
    assert len(killed) >= len(frames) - clips.LIVE_FRAMES and _difference(killed[5], frames[5]) < 6
    assert len(list(read_frames(open_clip(path)))) == len(frames), "all that were encoded"


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"pip install opencv-python-headless \(the extra video\)"):
        clips.check_installed()


def test_a_real_clip_with_sound(tmp_path: Path) -> None:
    clip = open_clip(real_clip("bigbuckbunny.mp4"))
    assert (clip.rate, clip.frames, clip.audio) == (25, 132, "aac")
    used = list(read_frames(clip, count=5))
    assert used[0].image.size == (1280, 720)
    small = [Frame(frame.image.resize((160, 90)), frame.time) for frame in used]
    write_clip(tmp_path / "out.mp4", small, clip.rate, clip.path)
    assert open_clip(tmp_path / "out.mp4").audio == "aac"


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    frame = next(read_frames(open_clip(real_clip("carphone_pristine.mp4"))))
    assert frame.image.size == (193, 144), "176 pixels of 128:117"
