"""Stylising by a network: images, folders, clips, a camera, starts of runs, ONNX, refused input."""

import dataclasses
import errno
import io
import itertools
import json
import shutil
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from src.cli.arguments import prepared
from src.common.errors import InputError, Interrupted
from src.common.files import write_error
from src.config.options import option_names
from src.config.schema import Device, Picture, RunConfig, typed
from src.data import images
from src.data.images import read_image, read_pixels
from src.data.sources import sha256_of
from src.feedforward.weights import load_network
from src.paint.camera import Show, camera_frames
from src.paint.config import PaintConfig, check, job_folder, kind_of, style_name
from src.paint.job import paint
from src.paint.painter import Painter
from src.paint.record import PaintRecord
from src.run import run
from tests.support.clips import moving, write_sounding
from tests.support.configs import by_hydra
from tests.support.photographs import write_network, write_photographs


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a network of random weights for two styles."""
    return write_network(tmp_path_factory.mktemp("network") / "net.safetensors", ["dots", "swell"])


def _config(network: Path, content: object, **more: object) -> PaintConfig:
    return PaintConfig(
        weights=str(network), content=Picture(path=str(content)), trainer=Device(accelerator="cpu", threads=1), **more
    )  # type: ignore[arg-type]


def _signal_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGINT to this process while the network is at its frame of this number, counted from 1."""
    painted, calls = Painter.__call__, itertools.count(1)

    def paint_one(self: Painter, content: torch.Tensor) -> torch.Tensor:
        if next(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return painted(self, content)

    monkeypatch.setattr(Painter, "__call__", paint_one)


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(read_image(path), np.float64)


def test_an_image_at_its_own_size_and_at_another(network: Path, tmp_path: Path) -> None:
    photo = write_photographs(tmp_path / "in", 1, (70, 50)) / "0.png"
    assert paint(_config(network, photo), tmp_path / "own") == "finished"
    assert read_image(tmp_path / "own/image.png").size == (70, 50)
    loaded = load_network(network)
    expected = Painter(loaded, loaded.shares("dots")).paint(read_pixels(photo))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(_pixels(tmp_path / "own/image.png") - expected).max() <= 0.51

    paint(_config(network, photo, edge=96, format="jpeg"), tmp_path / "large")
    assert read_image(tmp_path / "large/image.jpg").size == (96, 69)
    record = PaintRecord.read(tmp_path / "large")
    assert record is not None and record.status == "finished" and record.shares == {"dots": 1, "swell": 0}
    assert record.results["image.jpg"]["width"] == 96 and record.results["image.jpg"]["seconds"] > 0


def test_styles_are_chosen_by_name_and_mixed_by_shares(network: Path, tmp_path: Path) -> None:
    photo = write_photographs(tmp_path / "in", 1) / "0.png"
    results = {}
    for name, options in (
        ("dots", {"style": Picture(name="dots")}),
        ("swell", {"style": Picture(name="swell")}),
        ("first", {"shares": [3.0, 0.0]}),
        ("half", {"shares": [1.0, 1.0]}),
    ):
        paint(_config(network, photo, **options), tmp_path / name)
        results[name] = _pixels(tmp_path / name / "image.png")
    assert np.array_equal(results["first"], results["dots"])
    assert all(np.abs(results["half"] - results[name]).mean() > 1 for name in ("dots", "swell"))


def test_colours_and_alpha_of_the_content(network: Path, tmp_path: Path) -> None:
    values = np.full((48, 64, 4), 255, np.uint8)
    values[..., 1], values[:, :20, 3] = 40, 0
    Image.fromarray(values, "RGBA").save(tmp_path / "in.png")
    for color in ("style", "luminance"):
        paint(_config(network, tmp_path / "in.png", color=color), tmp_path / color)
    alpha = np.asarray(Image.open(tmp_path / "style/image.png"))[..., 3]
    assert (alpha[:, :19] == 0).all() and (alpha[:, 21:] == 255).all()
    opaque = np.asarray(Image.open(tmp_path / "luminance/image.png"), np.float64)[:, 24:, :3]
    chroma = opaque[..., 0] - opaque[..., 1], opaque[..., 0] - opaque[..., 2]
    assert (chroma[0] >= -0.51).all() and np.abs(chroma[1]).max() <= 1, "magenta, as the content, or less of it"


def test_a_folder_continues_where_it_was_stopped(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_photographs(tmp_path / "in", 4, (48, 32))
    (source / "1.png").rename(source / "0.jpg")  # a name without its suffix is there twice, and the contents say PNG
    (source / "damaged.png").write_bytes((source / "0.png").read_bytes()[:60])
    (source / "notes.txt").write_text("no picture")
    config = _config(network, source)
    with monkeypatch.context() as patch:
        _signal_at(2, patch)
        with pytest.raises(Interrupted):
            paint(config, tmp_path / "out")
    done = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert len(done) == 2 and PaintRecord.read(tmp_path / "out").status == "interrupted"
    before = (tmp_path / "out" / done[0]).stat().st_mtime_ns
    assert paint(config, tmp_path / "out") == "finished"
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == ["0.jpg.png", "0.png.png", "2.png", "3.png"]
    assert (tmp_path / "out" / done[0]).stat().st_mtime_ns == before, "finished pictures are left as they are"
    assert any("damaged.png" in each.getMessage() for each in caplog.records)
    shutil.copy(source / "3.png", source / "2.png")  # a picture that changed is stylised again
    paint(config, tmp_path / "out")
    assert np.array_equal(_pixels(tmp_path / "out/2.png"), _pixels(tmp_path / "out/3.png"))
    other = write_network(tmp_path / "other.safetensors", ["dots"], seed=9)
    paint(_config(other, source), tmp_path / "out")
    assert not np.array_equal(_pixels(tmp_path / "out/2.png"), _pixels(tmp_path / "out/3.png")[::-1])
    assert PaintRecord.read(tmp_path / "out").results.keys() == set(names)


def test_other_options_can_be_interrupted_and_repeated(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that are still to be made anew are known as the command's own."""
    source = write_photographs(tmp_path / "in", 3, (48, 32))
    paint(_config(network, source), tmp_path / "out")
    config = dataclasses.replace(_config(network, source), style=Picture(name="swell"))
    with monkeypatch.context() as patch:
        _signal_at(1, patch)
        with pytest.raises(Interrupted):
            paint(config, tmp_path / "out")
    assert paint(config, tmp_path / "out") == "finished"
    paint(config, tmp_path / "alone")
    for path in (tmp_path / "alone").glob("*.png"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"style": Picture(name="swell")},
        {"shares": [1.0, 1.0]},
        {"edge": 24},
        {"color": "content"},
        {"tile": 256},
        {"format": "tiff"},
        {"weights": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_options_make_all_pictures_of_a_folder_anew(
    network: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    source = write_photographs(tmp_path / "in", 1, (300, 260))
    paint(_config(network, source), tmp_path / "out")
    if "weights" in change:
        change = {"weights": str(write_network(tmp_path / "other.safetensors", ["dots", "swell"], seed=9))}
    config = dataclasses.replace(_config(network, source), **change)  # type: ignore[arg-type]
    paint(config, tmp_path / "out")
    paint(config, tmp_path / "alone")
    name = "0.tiff" if "format" in change else "0.png"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert {each for each, result in PaintRecord.read(tmp_path / "out").results.items() if result} == {name}


def test_a_job_that_fails_leaves_the_results_of_others_known(network: Path, tmp_path: Path) -> None:
    source = write_photographs(tmp_path / "in", 1, (48, 32))
    (tmp_path / "damaged.jpg").write_bytes(b"no picture")
    paint(_config(network, source), tmp_path / "out")
    config = _config(network, tmp_path / "damaged.jpg", style=Picture(name="swell"))
    with pytest.raises(InputError, match="damaged"):
        paint(config, tmp_path / "out")
    assert paint(dataclasses.replace(config, content=Picture(path=str(source))), tmp_path / "out") == "finished"


def test_each_picture_of_a_folder_has_a_result_of_its_own(network: Path, tmp_path: Path) -> None:
    source = write_photographs(tmp_path / "in", 3, (48, 32))
    for number, name in enumerate(("a.jpg", "a.png", "a.jpg.png")):
        (source / f"{number}.png").rename(source / name)
    paint(_config(network, source), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"a.jpg.png", "a.png.png", "a.jpg.png.png"} == PaintRecord.read(tmp_path / "out").results.keys()


def test_only_pictures_that_cannot_be_read_are_left_out(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, full = write_photographs(tmp_path / "in", 3, (48, 32)), OSError(errno.ENOSPC, "No space left on device")
    atomic = images.write_atomically

    def write(path: Path, data: bytes) -> None:
        if path.name == "1.png":
            raise write_error(path, full)
        atomic(path, data)

    monkeypatch.setattr(images, "write_atomically", write)
    with pytest.raises(InputError, match=r"cannot write .*1\.png: No space left on device"):
        paint(_config(network, source), tmp_path / "out")
    record = PaintRecord.read(tmp_path / "out")
    assert record.status == "failed" and record.results.keys() == {"0.png"}


def test_a_picture_larger_than_its_format_is_left_out(
    network: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_photographs(tmp_path / "in", 1, (48, 32))
    Image.new("RGB", (16400, 8)).save(source / "wide.png")
    assert paint(_config(network, source, format="webp"), tmp_path / "out") == "finished"
    assert "wide.png is too large: format=webp has at most 16383 px a side" in caplog.text


@pytest.mark.parametrize("kind", ["image", "folder", "clip"])
def test_a_signal_after_the_last_step_ends_the_command(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    content = write_photographs(tmp_path / "in", 1, (48, 32))
    if kind == "image":
        content /= "0.png"
    elif kind == "clip":
        pytest.importorskip("av")
        content = write_sounding(tmp_path / "in.mp4", moving(2, 64, 48))
    with monkeypatch.context() as patch:
        _signal_at(2 if kind == "clip" else 1, patch)
        with pytest.raises(Interrupted):
            paint(_config(network, content), tmp_path / "out")
    name = {"image": "image.png", "folder": "0.png", "clip": "clip.mp4"}[kind]
    record = PaintRecord.read(tmp_path / "out")
    assert record.status == "finished" and record.results.keys() == {name} and (tmp_path / "out" / name).is_file()


def test_a_signal_while_finished_pictures_are_skipped_interrupts(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_photographs(tmp_path / "in", 3, (48, 32))
    paint(_config(network, source), tmp_path / "out")

    def digest(path: Path) -> str:
        looks.append(path)
        if path.name == "1.png":
            signal.raise_signal(signal.SIGINT)
        return sha256_of(path)

    looks: list[Path] = []
    monkeypatch.setattr("src.paint.job.sha256_of", digest)
    with pytest.raises(Interrupted):
        paint(_config(network, source), tmp_path / "out")
    assert [path.name for path in looks if path.suffix == ".png"] == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"results": [1]}, "results is"),
        ({"results": {"0.png": 3}}, r"results\.0\.png is 3"),
        ({"seconds": "long"}, "seconds is"),
        ({"shares": {"dots": "x"}}, r"shares\.dots is"),
        ({"config": 3}, "config is 3"),
        (None, "Expecting value"),
    ],
)
def test_a_damaged_record_is_one_line(
    network: Path, tmp_path: Path, damage: dict[str, object] | None, message: str
) -> None:
    photo, file = write_photographs(tmp_path / "in", 1, (48, 32)) / "0.png", tmp_path / "out/paint.json"
    paint(_config(network, photo), tmp_path / "out")
    data = json.loads(file.read_text())
    file.write_text("" if damage is None else json.dumps(data | damage))
    before = file.read_bytes()
    with pytest.raises(
        InputError, match=rf"paint\.json is not a record of .*{message}.*; delete its folder, or choose"
    ):
        paint(_config(network, photo), tmp_path / "out")
    assert file.read_bytes() == before


def test_results_are_refused_in_the_folder_of_the_originals(network: Path, tmp_path: Path) -> None:
    source = write_photographs(tmp_path / "in", 1)
    shutil.copy(source / "0.png", source / "image.png")
    write_sounding(source / "clip.mp4", moving(2, 64, 48))
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/image.png").symlink_to(source / "image.png")
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    for content in (source, source / "image.png", source / "clip.mp4", tmp_path / "links"):
        for folder in (source, tmp_path / "link"):
            with pytest.raises(
                InputError, match=r"the content's own folder; choose another folder with hydra\.run\.dir="
            ):
                paint(_config(network, content), folder)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_a_file_that_the_command_did_not_make_is_not_replaced(network: Path, tmp_path: Path) -> None:
    source = write_photographs(tmp_path / "in", 1, (48, 32))
    for content, name in ((source / "0.png", "image.png"), (source, "0.png")):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(b"mine")
        with pytest.raises(InputError, match=f"holds {name}, which this command did not make; choose another folder"):
            paint(_config(network, content), folder)
        assert (folder / name).read_bytes() == b"mine"
    paint(_config(network, source), tmp_path / "later")
    (tmp_path / "later/1.png").write_bytes(b"mine")
    write_photographs(source, 2, (48, 32))
    with pytest.raises(InputError, match=r"holds 1\.png, which this command did not make"):
        paint(_config(network, source), tmp_path / "later")
    assert (tmp_path / "later/1.png").read_bytes() == b"mine"


def test_a_clip_keeps_rate_sound_and_number_of_frames(network: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    from src.data.clips import open_clip, read_frames

    source = write_sounding(tmp_path / "in.mp4", moving(5, 66, 50))
    paint(_config(network, source), tmp_path / "out")
    found = open_clip(tmp_path / "out/clip.mp4")
    frames = list(read_frames(found))
    assert (found.rate, found.audio, len(frames)) == (10, "aac", 5) and frames[0].image.size == (66, 50)
    assert [frame.time for frame in frames] == [Fraction(at, 10) for at in range(5)]
    loaded = load_network(network)
    painter = Painter(loaded, loaded.shares())
    for given, made in zip(read_frames(open_clip(source)), frames, strict=True):
        content = torch.from_numpy(np.asarray(given.image, np.float32) / 255).permute(2, 0, 1)[None]
        found = torch.from_numpy(np.asarray(made.image, np.float32) / 255).permute(2, 0, 1)[None]
        both = [F.avg_pool2d(each, 4) for each in (painter(content), found)]  # H.264 keeps colours at half the size
        assert (both[0] - both[1]).abs().mean() < 0.02
    assert PaintRecord.read(tmp_path / "out").results["clip.mp4"]["frames"] == 5
    paint(_config(network, source, frames=2, edge=33), tmp_path / "short")
    assert len(list(read_frames(open_clip(tmp_path / "short/clip.mp4")))) == 2


def test_an_interrupted_clip_leaves_nothing_half_written(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    source = write_sounding(tmp_path / "in.mp4", moving(5, 64, 48))
    _signal_at(2, monkeypatch)
    with pytest.raises(Interrupted):
        paint(_config(network, source), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*clip*"))


@pytest.fixture
def test_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let FFmpeg's moving test pattern, in real time, stand in for a camera."""
    pytest.importorskip("av")
    monkeypatch.setattr("src.paint.camera.DEVICES", {"linux": ("lavfi", "testsrc=size=96x64:rate=25")})


def test_a_camera_gives_its_newest_frame(test_pattern: None) -> None:
    with camera_frames("camera") as (rate, frames):
        taken = list(itertools.islice(frames, 4))
    assert rate == 25 and [frame.image.size for frame in taken] == [(96, 64)] * 4
    times = [frame.time for frame in taken]
    assert times[0] == 0 and times == sorted(set(times))


def test_a_camera_is_recorded_until_a_signal_and_never_over_a_recording(
    network: Path, tmp_path: Path, test_pattern: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.data.clips import open_clip, read_frames

    with monkeypatch.context() as patch:
        _signal_at(3, patch)
        assert paint(_config(network, "camera", edge=64), tmp_path / "out") == "finished"
    frames = list(read_frames(open_clip(tmp_path / "out/clip.mp4")))
    assert len(frames) == 3 and frames[0].image.size == (64, 42)
    before = (tmp_path / "out/clip.mp4").read_bytes()
    for count in (1, 2):
        paint(_config(network, "camera", edge=64, frames=count), tmp_path / "out")
    assert (tmp_path / "out/clip.mp4").read_bytes() == before
    results = PaintRecord.read(tmp_path / "out").results
    assert {name: each["frames"] for name, each in results.items()} == {"clip.mp4": 3, "clip-2.mp4": 1, "clip-3.mp4": 2}
    assert sorted(results) == sorted(path.name for path in (tmp_path / "out").glob("clip*"))
    source = write_sounding(tmp_path / "in.mp4", moving(2, 64, 48))
    with pytest.raises(InputError, match=r"clip\.mp4 is the recording of a camera; choose another folder"):
        paint(_config(network, source), tmp_path / "out")
    assert (tmp_path / "out/clip.mp4").read_bytes() == before
    assert PaintRecord.read(tmp_path / "out").results.keys() == results.keys()


class _Unplugged:
    """A camera's container that fails after some frames."""

    def __init__(self, container: object, frames: int) -> None:
        self.container, self.frames = container, frames

    def decode(self, stream: object) -> Iterator[object]:
        """Yield the frames, and fail as FFmpeg does without the device."""
        from av.error import OSError as FFmpegOSError

        yield from itertools.islice(self.container.decode(stream), self.frames)  # type: ignore[attr-defined]
        raise FFmpegOSError(errno.ENODEV, "No such device")


@pytest.mark.parametrize("frames", [0, 3])
def test_what_was_recorded_before_a_camera_was_unplugged_is_kept(
    network: Path,
    tmp_path: Path,
    test_pattern: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    frames: int,
) -> None:
    from src.data.clips import open_clip, read_frames
    from src.paint import camera

    newest = camera._newest
    monkeypatch.setattr(camera, "_newest", lambda container, *more: newest(_Unplugged(container, frames), *more))
    config = _config(network, "camera", edge=32)
    if frames:
        assert paint(config, tmp_path / "out") == "finished"
        assert 1 <= len(list(read_frames(open_clip(tmp_path / "out/clip.mp4")))) <= frames
        assert "the camera has stopped (No such device); the recording ends here" in caplog.text
        return
    with pytest.raises(InputError, match=r"content\.path: the camera gives no picture: No such device"):
        paint(config, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*clip*"))


def test_a_recording_that_an_error_ends_is_kept_as_a_recording(
    network: Path, tmp_path: Path, test_pattern: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.data.clips import open_clip, read_frames

    painted, calls = Painter.__call__, itertools.count(1)

    def fails_late(self: Painter, content: torch.Tensor) -> torch.Tensor:
        if next(calls) == 4:
            raise RuntimeError("CUDA error")
        return painted(self, content)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(Painter, "__call__", fails_late)
        paint(_config(network, "camera", edge=64), tmp_path / "out")
    assert len(list(read_frames(open_clip(tmp_path / "out/clip.mp4")))) == 3
    source = write_sounding(tmp_path / "in.mp4", moving(2, 64, 48))
    with pytest.raises(InputError, match=r"clip\.mp4 is the recording of a camera"):
        paint(_config(network, source), tmp_path / "out")


def test_ctrl_c_before_the_first_frame_interrupts(
    network: Path, tmp_path: Path, test_pattern: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(container: object, stream: object) -> Iterator[object]:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        ended.wait()
        yield from ()

    from src.paint import camera

    ended, newest = threading.Event(), camera._newest
    monkeypatch.setattr(camera, "PATIENCE", 30.0)
    monkeypatch.setattr(_Unplugged, "decode", lambda self, stream: never(self.container, stream))
    monkeypatch.setattr(camera, "_newest", lambda container, *more: newest(_Unplugged(container, 0), *more))
    threading.Timer(1.0, ended.set).start()
    with pytest.raises(Interrupted):
        paint(_config(network, "camera"), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*clip*")) and PaintRecord.read(tmp_path / "out").status == "interrupted"


def test_the_stream_shows_each_new_picture() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Show(port) as show:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            assert b"<img src=stream" in page.read()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stream") as stream:
            for shade in (40, 200):
                threading.Timer(0.05, show, [Image.new("RGB", (32, 24), (shade,) * 3)]).start()
                assert stream.readline() == b"--frame\r\n"
                stream.readline()
                length = int(stream.readline().split(b":")[1])
                stream.readline()
                data = stream.read(length)
                stream.readline()
                picture = Image.open(io.BytesIO(data))
                assert picture.size == (32, 24) and abs(picture.getpixel((5, 5))[0] - shade) < 4
        with pytest.raises(InputError, match=f"serve={port}: .*choose another port"), Show(port):
            pass
        foreign = urllib.request.Request(f"http://127.0.0.1:{port}/stream", headers={"host": f"evil.example:{port}"})
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(foreign)


def test_a_camera_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("src.paint.camera.DEVICES", {"linux": ("v4l2", "/dev/video77")})
    with pytest.raises(InputError, match=r"content\.path: no camera at /dev/video77"), camera_frames("camera"):
        pass


def test_a_run_starts_from_a_network(network: Path, tmp_path: Path, small: Callable[..., RunConfig]) -> None:
    """The run's first loss is that of the network's picture; the network is one of its recorded inputs."""
    copied = Path(shutil.copy(network, tmp_path / "net.safetensors"))
    config = small("init=network", f"init.path={copied}", "style=swell", "canvas.space=pixel", "steps=1")
    record = run(config, tmp_path / "run")
    file = small("init=file", f"init.path={tmp_path}/start.png", "style=swell", "canvas.space=pixel", "steps=1")
    photo = tmp_path / "start.png"
    options = PaintConfig(str(network), config.content, Picture(name="swell"), edge=48, trainer=config.trainer)
    paint(options, tmp_path / "painted")
    shutil.copy(tmp_path / "painted/image.png", photo)
    assert record.initial_loss == pytest.approx(run(file, tmp_path / "file").initial_loss, rel=0.05)
    data = json.loads((tmp_path / "run/record.json").read_text())
    write_network(copied, ["dots", "swell"], seed=3)
    (tmp_path / "run/record.json").write_text(json.dumps({**data, "status": "interrupted"}))
    with pytest.raises(InputError, match=r"init image .*net\.safetensors has changed since this run began"):
        run(config, tmp_path / "run")
    with pytest.raises(InputError, match="has no style brushwork; one of: dots, swell"):
        run(dataclasses.replace(config, style=Picture(**vars(small("style=brushwork").style))), tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": Picture(path="/nowhere/x.jpg")}, "content.path: no such file or folder: /nowhere/x.jpg"),
        ({"edge": 3}, r"edge must be in 16\.\."),
        ({"tile": 130}, "tile must be a multiple of 4 of at least 256 px"),
        ({"color": "red"}, "color=red is unknown; one of: style, luminance, content"),
        ({"format": "bmp"}, "format=bmp is unknown"),
        ({"shares": [1.0], "style": Picture(name="dots")}, "style= for one style or shares= for a mixture"),
        ({"frames": 0}, "frames must be positive"),
        ({"serve": 8000}, "serve= shows a camera's picture"),
        ({"frames": 3}, "frames= is for a clip or a camera; leave it out for pictures"),
        ({"content": Picture(path="camera"), "format": "webp", "edge": 20000}, "format= is for pictures; leave it out"),
        ({"edge": 20000, "format": "webp"}, "format=webp has at most 16383 px a side"),
        ({"trainer": Device(accelerator="x")}, r"trainer\.accelerator=x is unknown"),
    ],
)
def test_bad_options_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(dataclasses.replace(PaintConfig(), **change))  # type: ignore[arg-type]


def test_what_the_content_is_and_where_its_results_go(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.JPG"):
        (tmp_path / name).touch()
    assert prepared([f"content={tmp_path}"], PaintConfig) == ["content=file", f'content.path="{tmp_path}"']
    kinds = {"camera": "camera", str(tmp_path): "folder", f"{tmp_path}/a.mp4": "clip", f"{tmp_path}/b.JPG": "image"}
    assert {path: kind_of(PaintConfig(content=Picture(path=path))) for path in kinds} == kinds
    first = job_folder(PaintConfig(content=Picture(path=f"{tmp_path}/b.JPG"), weights="own"))
    assert first.startswith("b-own-") and first == job_folder(PaintConfig(content=Picture(path=f"{tmp_path}/b.JPG")))
    assert first != job_folder(PaintConfig(content=Picture(path=f"{tmp_path}/b.JPG"), edge=64))


@pytest.mark.slow
def test_the_command(command_here: Callable[..., str], network: Path, tmp_path: Path) -> None:
    photo = write_photographs(tmp_path / "in", 1) / "0.png"
    said = command_here(
        "src.paint.__main__",
        f"weights={network}",
        "style=swell",
        f"content.path={photo}",
        f"hydra.run.dir={tmp_path}/out",
    )
    record = PaintRecord.read(tmp_path / "out")
    assert "image.png" in said and record is not None and record.shares == {"dots": 0, "swell": 1}
    assert "edge=null" in command_here("src.paint.__main__", "--help")


def test_a_style_that_was_trained_from_a_file_is_chosen_by_name(tmp_path: Path) -> None:
    assert prepared(["style=mine"], PaintConfig) == ["style.name=mine"]
    assert prepared(["style=swell"], PaintConfig) == ["style=swell"]
    assert style_name(typed(by_hydra("paint", PaintConfig, ["style.name=mine"]), PaintConfig)) == "mine"


def test_options_of_the_device_are_those_that_have_an_effect() -> None:
    assert [name for name in option_names(PaintConfig) if name.startswith("trainer")] == [
        "trainer",
        "trainer.accelerator",
        "trainer.threads",
    ]


def test_an_empty_folder_is_refused(network: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        paint(_config(network, tmp_path / "in"), tmp_path / "out")


@pytest.mark.long
def test_export_needs_no_content(network: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    config = PaintConfig(weights=str(network), export=str(tmp_path / "net.onnx"))
    assert paint(config, tmp_path / "out") == "finished"
    assert (tmp_path / "net.onnx").exists() and not (tmp_path / "out").exists()
