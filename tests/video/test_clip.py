"""Clips from beginning to end: links, cuts, passes, kills, trackers."""

import csv
import gc
import shutil
import signal
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.common.errors import InputError, Interrupted
from src.config.schema import run_part
from src.data.images import read_image
from src.encoders.weights import EMBEDDED
from src.run import run
from src.tracking import record as records
from tests.support import wandb_files
from tests.support.clips import moving, texture, write_folder, write_sounding
from tests.support.processes import started, wait_for
from tests.support.runs import signalled_at_the_end
from tests.video.clips import TINY, compose_clip

pytest.importorskip("av")
pytest.importorskip("cv2")
from src.data.clips import open_clip, read_frames
from src.tracking.clip_record import ClipRecord
from src.video.clip import Frames, stylise
from src.video.config import content_of


def _frame(folder: Path, number: int) -> np.ndarray:
    return np.asarray(read_image(folder / f"frames/{number:05d}/image.png"), np.float64)


def test_a_clip_with_sound_and_a_cut(tmp_path: Path) -> None:
    """Frames, rate and sound are kept; nothing of one scene is in the next; later frames take fewer steps."""
    scenes = [*moving(3, 72, 54), *moving(2, 72, 54, seed=8)]
    source = write_sounding(tmp_path / "clip.mp4", scenes)
    config = compose_clip(*TINY, f"content.path={source}", "logger=csv")
    record = stylise(config, tmp_path / "out")
    assert record.status == "finished" and record.cuts == [3] and (record.width, record.height) == (64, 48)

    result = open_clip(tmp_path / "out/clip.mp4")
    found = list(read_frames(result))
    assert (result.rate, len(found), result.audio) == (10, 5, "aac")
    assert [frame.time for frame in found] == [Fraction(at, 10) for at in range(5)]
    shown = np.asarray(found[2].image, np.float64)
    assert np.abs(shown - _frame(tmp_path / "out", 2)).mean() < 5

    runs = [records.read(tmp_path / f"out/frames/{number:05d}") for number in range(5)]
    assert [each.step for each in runs] == [4, 2, 2, 4, 2]
    assert [len(each.options.reference.images) for each in runs] == [0, 1, 2, 0, 1]
    assert {each.options.seed for each in runs} == {0}
    assert ["reference" in each.captures[-1].losses for each in runs] == [False, True, True, False, True]

    alone = run_part(config)
    alone.content = content_of(config, str(tmp_path / "out/content/clip-00003.png"))
    alone.edge, alone.captures, alone.logger.name = 64, [1.0], "none"
    run(alone, tmp_path / "alone")
    expected = np.asarray(read_image(tmp_path / "alone/image.png"), np.float64)
    assert np.array_equal(_frame(tmp_path / "out", 3), expected), "no ghost of the scene before"

    with (tmp_path / "out/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(5))
    errors = [row["warping_error"] for row in rows]
    assert [bool(each) for each in errors] == [False, True, True, False, True]
    assert record.mean("warping_error") == pytest.approx(np.mean([float(each) for each in errors if each]))
    left = {path.name for path in (tmp_path / "out/frames/00001").iterdir()}
    assert "inputs" not in left and "last.ckpt" not in left, "finished frames keep no working files"

    assert stylise(config, tmp_path / "out").ended == record.ended, "a finished clip is left as it is"
    (tmp_path / "out/clip.mp4").unlink()
    assert stylise(config, tmp_path / "out").ended == record.ended, "encoded anew of the same frames"
    again = open_clip(tmp_path / "out/clip.mp4")
    assert (len(list(read_frames(again))), again.audio) == (5, "aac")
    with pytest.raises(InputError, match=r"holds another clip \(it differs in seed\)"):
        stylise(compose_clip(*TINY, f"content.path={source}", "seed=1"), tmp_path / "out")


@pytest.mark.parametrize("own", [True, False])
def test_a_clip_in_the_folder_of_results_is_not_replaced(own: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_sounding(out / "clip.mp4", moving(2))
    source = out / "clip.mp4" if own else write_sounding(tmp_path / "other.mp4", moving(2))
    before = (out / "clip.mp4").read_bytes()
    with pytest.raises(
        InputError, match=r"out holds clip\.mp4, which this command did not make; choose another folder"
    ):
        stylise(compose_clip(*TINY, f"content.path={source}"), out)
    assert [path.name for path in out.iterdir() if path.suffix != ".lock"] == ["clip.mp4"]
    assert (out / "clip.mp4").read_bytes() == before
    (out / "clip.mp4").rename(out / "holiday.mp4")
    with pytest.raises(InputError, match=r"the results would be written to .*out, the clip's own folder; choose"):
        stylise(compose_clip(*TINY, f"content.path={out / 'holiday.mp4'}"), out)


def test_several_sizes_at_once_are_those_of_every_frame(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames", moving(2, 128, 96))
    options = ("edge=128", "schedule=simultaneous", "schedule.smallest=64", "steps=1", "video.steps=1")
    stylise(compose_clip(*TINY, *options, f"content.path={folder}"), tmp_path / "out")
    runs = [records.read(tmp_path / f"out/frames/{number:05d}") for number in range(2)]
    assert [each.options.schedule.name for each in runs] == ["simultaneous"] * 2


@pytest.mark.long
def test_linked_frames_flicker_less_than_frames_by_themselves(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames", moving(4, 64, 48, speed=3))
    options = (*TINY, f"content.path={folder}", "init=noise", "steps=12", "video.steps=6", "optimizer.lr=0.05")
    linked = stylise(compose_clip(*options), tmp_path / "linked")
    single = stylise(compose_clip(*options, "video.linked=false"), tmp_path / "single")
    assert linked.mean("warping_error") < single.mean("warping_error") / 3
    assert not single.cuts and single.mean("loss/reference") is None


@pytest.mark.slow
def test_identical_frames_stay_the_same(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames", [texture(64, 48)] * 3)
    stylise(compose_clip(*TINY, f"content.path={folder}", "video.steps=3"), tmp_path / "out")
    assert all(np.array_equal(_frame(tmp_path / "out", number), _frame(tmp_path / "out", 0)) for number in (1, 2))
    assert records.read(tmp_path / "out/frames/00002").step == 0, "a repeated frame takes no steps"


@pytest.mark.long
def test_no_frame_is_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the frame on that has all its neighbours, tensors and images in memory are the same after each frame."""
    log, found = Frames._log, []

    def log_and_count(*given: Any) -> None:
        log(*given)
        gc.collect()
        alive = gc.get_objects()
        tensors = [each for each in alive if type(each) in (torch.Tensor, torch.nn.Parameter)]  # no symbolic ones
        images = sum(issubclass(type(each), Image.Image) for each in alive)
        found.append((len(tensors), sum(each.nbytes for each in tensors if each.layout == torch.strided), images))

    monkeypatch.setattr(Frames, "_log", log_and_count)
    folder = write_folder(tmp_path / "frames", moving(6, 64, 48))
    options = (f"content.path={folder}", "steps=1", "video.steps=1", "video.offsets=[1,2]")
    gc.freeze()  # leaves the modules' million objects out of the count
    try:
        stylise(compose_clip(*TINY, *options), tmp_path / "out")
    finally:
        gc.unfreeze()
    assert len(found) == 6 and set(found[3:]) == {found[3]}


@pytest.mark.long
def test_passes_go_back_and_forth_with_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.training import setup

    loaded = []
    load = setup.load_encoder
    monkeypatch.setattr(setup, "load_encoder", lambda *given: (loaded.append(given), load(*given))[1])
    folder = write_folder(tmp_path / "frames", moving(3))
    record = stylise(compose_clip(*TINY, f"content.path={folder}", "video.passes=3"), tmp_path / "out")
    assert len(loaded) == 1
    steps = {
        name: [records.read(tmp_path / "out" / name / f"{number:05d}").step for number in range(3)]
        for name in ("pass-1", "pass-2", "frames")
    }
    assert steps == {"pass-1": [4, 2, 2], "pass-2": [2, 2, 2], "frames": [2, 2, 2]}
    backward = records.read(tmp_path / "out/pass-2/00002")
    assert not backward.options.reference.images, "the backward pass begins at the end"
    assert len(records.read(tmp_path / "out/pass-2/00000").options.reference.images) == 2
    assert set(record.frames) == {"0", "1", "2"} and record.cuts == []


@pytest.mark.long
def test_kill_9_and_the_same_command_end_bit_identical(command: Callable, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "frames", moving(3, 64, 48))
    options = (*TINY, f"content.path={source}", "steps=12", "video.steps=12", "logger=csv", "checkpoint_every=2")
    folder = tmp_path / "killed"
    with started(*options, f"hydra.run.dir={folder}", module="src.video") as process:
        wait_for((folder / "frames/00001/last.ckpt").exists, process)
        process.kill()
        process.join()
    assert ClipRecord.read(folder).status == "running"
    assert records.read(folder / "frames/00000").status == "finished"
    before = (folder / "frames/00000/record.json").read_bytes()

    shown = command("src.video", *options, f"hydra.run.dir={folder}").stdout
    assert "3 frames, scenes: 1" in shown and f"report: python -m src.report {folder}" in shown
    assert (folder / "frames/00000/record.json").read_bytes() == before, "a finished frame is not run again"
    stylise(compose_clip(*options), tmp_path / "whole")
    for number in range(3):
        assert np.array_equal(_frame(folder, number), _frame(tmp_path / "whole", number))
    assert (folder / "clip.mp4").read_bytes() == (tmp_path / "whole/clip.mp4").read_bytes()


def test_ctrl_c_keeps_the_frames(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "frames", moving(3, 64, 48))
    options = (*TINY, f"content.path={source}", "video.steps=100000", "log_every=1000")
    with started(*options, f"hydra.run.dir={tmp_path / 'out'}", module="src.video") as process:
        wait_for((tmp_path / "out/frames/00001/last.ckpt").exists, process)
        process.send_signal(signal.SIGINT)
        done = process.finish()
    assert done.returncode == 130, done
    assert "interrupted; to resume: run the same command again" in done.stderr and "Traceback" not in done.stderr
    assert ClipRecord.read(tmp_path / "out").status == "interrupted"
    assert records.read(tmp_path / "out/frames/00001").status == "interrupted"


def test_a_signal_while_a_frame_is_finished_stops_the_clip_after_it(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "frames", moving(2, 64, 48))
    config, folder = compose_clip(*TINY, f"content.path={source}", "logger=csv"), tmp_path / "out"
    with signalled_at_the_end(signal.SIGINT), pytest.raises(Interrupted) as stop:
        stylise(config, folder)
    assert stop.value.signal_number == signal.SIGINT and stop.value.resume_hint == "run the same command again"
    assert ClipRecord.read(folder).status == "interrupted" and not (folder / "frames/00001").exists()
    before = (folder / "frames/00000/image.png").stat().st_mtime_ns
    record = stylise(config, folder)
    assert record.status == "finished" and set(record.frames) == {"0", "1"}
    assert (folder / "frames/00000/image.png").stat().st_mtime_ns == before, "the frame is not run again"
    assert not (folder / "frames/00000/last.ckpt").exists()


@pytest.mark.parametrize("what", ["video", "frame", "style", "mask", "weights"])
def test_a_file_that_was_replaced_is_told(what: str, tmp_path: Path) -> None:
    frames = moving(2, 64, 48)
    folder = write_folder(tmp_path / "frames", frames)
    files = {
        "video": tmp_path / "clip.mp4", "frame": sorted(folder.iterdir())[1], "style": tmp_path / "style.png",
        "mask": tmp_path / "mask.png", "weights": tmp_path / "own.safetensors",
    }  # fmt: skip
    write_sounding(files["video"], frames)
    texture(64, 48, seed=5).save(files["style"])
    Image.new("L", (64, 48), 255).save(files["mask"])
    shutil.copy(EMBEDDED, files["weights"])
    options = [f"content.path={folder if what == 'frame' else files['video']}"]
    options += {
        "style": [f"style.path={files['style']}", "style=file"],
        "mask": [f"content.mask={files['mask']}"],
        "weights": [f"backbone.weights={files['weights']}"],
    }.get(what, [])
    config, out = compose_clip(*TINY, *options, "video.frames=1"), tmp_path / "out"
    with signalled_at_the_end(signal.SIGINT), pytest.raises(Interrupted):
        stylise(config, out)
    whole = files[what].read_bytes()
    files[what].write_bytes(whole + b"\0")
    for status in ("interrupted", "finished"):
        assert ClipRecord.read(out).status == status
        with pytest.raises(InputError, match="has changed since this clip was begun; choose another folder"):
            stylise(config, out)
        files[what].write_bytes(whole)
        assert stylise(config, out).status == "finished"
        files[what].write_bytes(whole + b"\0")


@pytest.mark.slow
def test_one_wandb_run_a_clip_with_its_video(tmp_path: Path, wandb_settings: None) -> None:
    import wandb

    source = write_folder(tmp_path / "frames", moving(2, 64, 48))
    arguments = (*TINY, f"content.path={source}", "logger=wandb", "logger.mode=offline", "logger.tags=[mine]")
    stylise(compose_clip(*arguments), tmp_path / "out")
    wandb.teardown()  # waits until the files are complete
    [offline] = wandb_files.find_runs(tmp_path / "out")
    logged = wandb_files.load(offline)
    assert logged.exit_code == 0 and set(logged.tags) == {"mine", "video"}
    assert [row["step"] for row in logged.history] == [0, 1, 2]
    assert logged.history[1]["warping_error"] == ClipRecord.read(tmp_path / "out").frames["1"]["warping_error"]
    assert logged.history[0]["capture._type"] == "image-file"
    assert logged.history[2]["video._type"] == "video-file"
    assert logged.summary["mean/loss/style"] > 0 and logged.summary["status"] == "finished"


@pytest.mark.slow
def test_help_errors_and_a_sweep_of_the_command(command_here: Callable, refused_here: Callable, tmp_path: Path) -> None:
    shown = command_here("src.video.__main__", "--help")
    assert "video.steps=40" in shown and "the extra video" in shown
    refused = refused_here("src.video.__main__", "content.path=missing.mp4", f"hydra.run.dir={tmp_path}")
    assert refused.startswith("error: content.path: no such file or folder: missing.mp4")
    source = write_folder(tmp_path / "frames", moving(2, 64, 48))
    options = (f"content.path={source}", "style=dots,swell", f"hydra.sweep.dir={tmp_path / 'runs'}")
    command_here("src.video.__main__", "-m", *TINY, *options)
    assert len(list((tmp_path / "runs").glob("frames-*/clip.mp4"))) == 2
