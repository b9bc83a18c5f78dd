import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.common.errors import InputError
from src.config.identity import identity
from src.config.schedule import stages
from src.config.schema import RunConfig, typed
from src.config.validation import validate
from src.data.images import read_image
from src.mesh import turntable
from src.mesh.cameras import lattice, turned
from src.mesh.config import MeshConfig, check, job_folder, run_of
from src.mesh.job import _keep_views, model_views, paint
from src.mesh.models import read_model
from src.run import resume, run
from src.tracking import record as records
from src.training.checkpoints import CHECKPOINT
from src.training.grouping import obstacle
from src.transfer.views import Sheet
from tests.conftest import SMALL
from tests.support import wandb_files
from tests.support.configs import by_hydra
from tests.support.models import plane_views, texture, write_torus
from tests.support.pictures import write_smooth_picture
from tests.support.prepare import prepare_run
from tests.support.processes import started, wait_for

pytest.importorskip("trimesh", reason="trimesh is not installed (the extra mesh)")
VIEWED = (*SMALL, "mesh.views=3", "mesh.size=32", "mesh.frames=3", "mesh.samples=1")


@pytest.fixture
def torus(tmp_path: Path) -> Path:
    """A textured torus."""
    write_torus(tmp_path / "torus.glb")
    return tmp_path / "torus.glb"


def _config(*overrides: str) -> MeshConfig:
    return typed(by_hydra("mesh", MeshConfig, [*VIEWED, *overrides]), MeshConfig)


def test_frames_of_the_sheet_are_evenly_chosen() -> None:
    assert turntable.evenly(range(10), 6) == [0, 1, 3, 5, 6, 8]
    assert turntable.evenly(range(36), 6) == [0, 6, 12, 18, 24, 30]
    assert turntable.evenly(range(4), 6) == [0, 1, 2, 3]


def test_the_command_writes_model_texture_views_and_turntable(
    command_here: Callable, torus: Path, tmp_path: Path
) -> None:
    command_here("src.mesh.__main__", *VIEWED, f"mesh.path={torus}", "style=dots", f"hydra.sweep.dir={tmp_path}/runs")
    ((folder, record),) = records.scan(tmp_path / "runs")
    assert record.status == "finished" and folder.name.startswith("torus-dots-")
    painted, model = read_image(folder / "image.png"), read_model(folder / "model.glb")
    assert painted.size == (48, 32) == (record.width, record.height)
    original = read_model(torus)
    assert np.array_equal(model.uv, original.uv) and np.array_equal(model.corners, original.corners)
    assert np.array_equal(np.asarray(model.textures[0]), np.asarray(painted))
    before = np.asarray(read_image(folder / "original.png").resize((48, 32)), float)
    assert np.abs(before - np.asarray(painted, float)).mean() > 2, "it was painted"
    with Image.open(folder / "turntable.webp") as film:
        assert film.n_frames == 3 and film.size == (32, 32)
    assert read_image(folder / "turntable.jpg").size == (96, 64)
    sheet = read_image(folder / record.captures[-1].file)
    assert sheet.size == (64, 64)
    assert sheet.getpixel((0, 0)) == (255, 255, 255) == sheet.getpixel((60, 60)), "background, and the unused cell"


def test_the_same_command_leaves_a_finished_model(torus: Path, tmp_path: Path) -> None:
    config, folder = _config(f"mesh.path={torus}", "steps=1"), tmp_path / "run"
    paint(config, folder)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "run.lock"}
    paint(config, folder)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    (folder / "model.glb").unlink()
    paint(config, folder)
    assert (folder / "model.glb").exists()
    for frames, expected in ((4, 4), (0, 4), (2, 2)):
        more = _config(f"mesh.path={torus}", "steps=1", f"mesh.frames={frames}")
        assert job_folder(more) == job_folder(config), "the same run"
        paint(more, folder)
        assert turntable.length(folder / "turntable.webp") == expected
        assert read_image(folder / "turntable.jpg").size == (32 * expected, 64)
    assert (folder / "record.json").stat().st_mtime_ns == times[folder / "record.json"]
    with pytest.raises(InputError, match="began with other views or another shape"):
        paint(_config(f"mesh.path={torus}", "steps=1", "mesh.fov=50"), folder)
    write_torus(torus, texture(seed=3))
    with pytest.raises(InputError, match=r"the textures of .* have changed"):
        paint(config, folder)


def test_cameras_that_differ_by_rounding_are_the_same(tmp_path: Path) -> None:
    path, views = tmp_path / "views.safetensors", plane_views()
    _keep_views(path, views)
    kept = path.read_bytes()
    _keep_views(path, dataclasses.replace(views, cameras=views.cameras * (1 + 1e-12)))
    assert path.read_bytes() == kept
    for other in ({"cameras": views.cameras * 1.001}, {"samples": views.samples + 1}, {"uv": views.uv[:1]}):
        with pytest.raises(InputError, match="began with other views"):
            _keep_views(path, dataclasses.replace(views, **other))


@pytest.mark.long
def test_a_killed_job_goes_on_to_the_same_end(torus: Path, tmp_path: Path) -> None:
    options = ("steps=40", "checkpoint_every=2", "canvas.space=laplacian", "schedule.sizes=1", f"mesh.path={torus}")
    folder = tmp_path / "killed"

    def turned_twice() -> bool:
        checkpoint = folder / CHECKPOINT
        return checkpoint.exists() and torch.load(checkpoint, weights_only=True)["step"] >= 12

    with started(*VIEWED, *options, f"hydra.run.dir={folder}", module="src.mesh") as process:
        wait_for(turned_twice, process)
        process.kill()
        process.join()
    assert json.loads((folder / "record.json").read_text())["status"] == "running"
    assert not (folder / "model.glb").exists()
    paint(_config(*options), folder)
    paint(_config(*options), tmp_path / "whole")
    for name in ("image.png", "model.glb", "turntable.webp"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.long
def test_a_sweep_paints_in_every_style(command: Callable, torus: Path, tmp_path: Path) -> None:
    arguments = (
        "style=dots,swell",
        "steps=1",
        "mesh.frames=0",
        f"mesh.path={torus}",
        f"hydra.sweep.dir={tmp_path}/all",
    )
    command("src.mesh", "-m", *VIEWED, *arguments)
    found = [folder for folder, record in records.scan(tmp_path / "all") if record.status == "finished"]
    assert len(found) == 2 and all((folder / "model.glb").exists() for folder in found)
    assert not any((folder / "turntable.webp").exists() for folder in found)


def test_the_model_reaches_wandb(torus: Path, tmp_path: Path, wandb_settings: None) -> None:
    import wandb

    paint(_config("steps=2", "logger=wandb", "logger.mode=offline", f"mesh.path={torus}"), tmp_path / "run")
    wandb.teardown()  # waits until the files are complete
    (path,) = wandb_files.find_runs(tmp_path / "run")
    last = wandb_files.load(path).history[-1]
    assert last["step"] == 2 and last["model._type"] == "object3D-file"
    logged = path / "files" / last["model.path"]
    assert logged.read_bytes() == (tmp_path / "run/model.glb").read_bytes()
    assert last["turntable._type"] == "image-file"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("steps=0", "mesh.path=FILE is needed"),
        ("mesh.path=none.glb", "no such file"),
        ("mesh.path=conf/mesh.yaml", "is a file of .glb, .gltf, .obj"),
        ("content=cat", "the content is the texture of the model"),
        ("canvas.views=a", "give mesh.path=FILE instead"),
        ("resume=last", "repeat the same command"),
        ("mesh.views=0", "mesh.views must be positive"),
        ("mesh.views=1000", "mesh.views must be in 1..256"),
        ("mesh.turns=0", "mesh.turns must be positive"),
        ("mesh.turns=65", "mesh.turns must be in 1..64"),
        ("canvas.turns=2", "give mesh.turns=2 instead"),
        ("schedule.average=0.9", "give mesh.turns=1 as well"),
        ("mesh.size=15", "mesh.size must be in 16..4096"),
        ("mesh.fov=180", "mesh.fov is an angle of 1 to 120"),
        ("mesh.steepest=0", "mesh.steepest is an angle"),
        ("mesh.samples=9", "mesh.samples must be in 1..4"),
        ("mesh.frames=-1", "mesh.frames must be zero or positive"),
        ("mesh.held_out=4", "mesh.held_out=4 must not be above mesh.views=3"),
        ("mesh.held_out=2 loss.beta=0", "mesh.held_out=2 compares style losses"),
    ],
)
def test_bad_options_are_told(override: str, told: str, torus: Path) -> None:
    given = [] if override in ("steps=0",) or "mesh.path" in override else [f"mesh.path={torus}"]
    with pytest.raises(InputError, match=told):
        check(_config(*given, *override.split()))


def test_the_command_tells_bad_input_in_one_line(refused_here: Callable, torus: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.obj"
    bad.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    shown = refused_here("src.mesh.__main__", *VIEWED, f"mesh.path={bad}", f"hydra.sweep.dir={tmp_path}/runs")
    assert shown.splitlines()[-1].startswith(f"error: {bad} has no UV coordinates")
    assert not list((tmp_path / "runs").rglob("record.json"))
    shown = refused_here("src.mesh.__main__", *VIEWED, "mesh.size=4", f"mesh.path={torus}", f"hydra.run.dir={tmp_path}")
    assert "mesh.size" in shown.splitlines()[-1]


def test_names_follow_options_and_file(torus: Path) -> None:
    names = [job_folder(_config(f"mesh.path={torus}", *more)) for more in ((), ("mesh.views=4",), ("logger=csv",))]
    assert names[0] != names[1] and names[0] == names[2]
    write_torus(torus, texture(seed=4))
    assert job_folder(_config(f"mesh.path={torus}")) != names[0]


def test_styles_are_relative_to_a_view(torus: Path) -> None:
    assert run_of(_config(f"mesh.path={torus}", "edge=64", "style_scale=1.5")).style_scale == 0.75
    assert run_of(_config(f"mesh.path={torus}", "edge=64", "style_scale=[1,2]")).style_scale == [0.5, 1.0]


@pytest.mark.parametrize("space", ["pixel", "laplacian", "fourier"])
def test_a_square_texel_for_pixel_is_the_run_of_a_picture(space: str, small: Callable, tmp_path: Path) -> None:
    write_smooth_picture(tmp_path / "a.png", 48, 48)
    plane_views().write(tmp_path / "views")
    base = ("schedule=pyramid", "edge=80", f"canvas.space={space}", f"content.path={tmp_path}/a.png", "content=file")
    base += ("loss.self_similarity=0",)  # its gradient, of absolute differences, magnifies rounding near the content
    plain: RunConfig = small(*base)
    run(plain, tmp_path / "plain")
    viewed = dataclasses.replace(plain, canvas=dataclasses.replace(plain.canvas, views=str(tmp_path / "views")))
    run(viewed, tmp_path / "viewed")
    states = [torch.load(tmp_path / name / CHECKPOINT, weights_only=True)["state_dict"] for name in ("plain", "viewed")]
    for name, value in states[0].items() if space != "fourier" else ():  # Adam magnifies rounding of coefficients
        torch.testing.assert_close(states[1][name.replace("image.", "image.canvas.")], value, rtol=0, atol=1e-4)
    losses = [records.read(tmp_path / name).captures[-1].losses for name in ("plain", "viewed")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    pictures = [np.asarray(read_image(tmp_path / name / "image.png"), int) for name in ("plain", "viewed")]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


@pytest.mark.long
def test_views_that_were_not_trained_have_the_style_too(torus: Path, tmp_path: Path) -> None:
    """The style loss of 8 views from other directions, against that of 8 that were trained: fewer views vary more."""
    options = ("style=dots", "mesh.views=16", "mesh.held_out=8", "steps=20", "loss=moments")
    paint(_config(f"mesh.path={torus}", *options), tmp_path / "run")
    found = json.loads((tmp_path / "run" / "held_out.json").read_text())
    assert found["others"] < 1.2 * found["own"]
    assert found["others"] < 0.5 * found["others_original"]


def test_other_views_are_compared_with_the_runs_own(torus: Path, tmp_path: Path) -> None:
    options = (f"mesh.path={torus}", "edge=128", "steps=20", "mesh.views=4", "mesh.frames=0", "mesh.turns=1")
    config = _config(*options, "mesh.held_out=4")
    record = paint(config, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "held_out.json").read_text())
    assert found["views"] == 4 and found["own_original"] > found["own"] and found["others_original"] > found["others"]
    # The four cameras are the whole sheet of the run, which measures the texture before its seams are welded.
    losses = record.captures[-1].losses
    assert found["own"] == pytest.approx(losses["style"] + losses["patches"], rel=0.4)
    assert found["others"] > 1.4 * found["own"], "four views of a torus leave much unseen"
    first = (tmp_path / "run" / "held_out.json").stat().st_mtime_ns
    paint(config, tmp_path / "run")
    assert (tmp_path / "run" / "held_out.json").stat().st_mtime_ns == first
    fewer = _config(*options, "mesh.held_out=2")
    assert job_folder(fewer) == job_folder(config)
    paint(fewer, tmp_path / "run")
    again = json.loads((tmp_path / "run" / "held_out.json").read_text())
    assert again["views"] == 2 and again["own"] != found["own"]
    assert job_folder(_config(*options, "mesh.turns=5", "mesh.held_out=4")) != job_folder(config)


def _twice(tmp_path: Path) -> Path:
    """Write the views of a square through one camera, in two turns; return the file."""
    views = plane_views()
    cameras = np.concatenate([views.cameras, views.cameras])
    dataclasses.replace(views, cameras=cameras, turns=np.array(2)).write(tmp_path / "views")
    return tmp_path / "views"


@pytest.mark.parametrize("schedule", ["single", "pyramid"])
def test_turning_to_the_same_cameras_changes_nothing(schedule: str, small: Callable, tmp_path: Path) -> None:
    """Adam's moments, learning rate and step count go on from turn to turn."""
    write_smooth_picture(tmp_path / "a.png", 48, 48)
    options = (f"content.path={tmp_path}/a.png", "content=file", f"canvas.views={_twice(tmp_path)}", "steps=9")
    options += ("loss=moments", "canvas.space=pixel", "optimizer.rise=3", f"schedule={schedule}", "edge=80")
    for turns in (1, 2):
        run(small(*options, f"canvas.turns={turns}"), tmp_path / str(turns))
    once, twice = (torch.load(tmp_path / turns / CHECKPOINT, weights_only=True) for turns in "12")
    for name, value in once["state_dict"].items():
        torch.testing.assert_close(twice["state_dict"][name], value, rtol=0, atol=1e-6)


def test_turns_are_part_of_a_run_with_views_only(small: Callable, tmp_path: Path) -> None:
    viewed = (f"canvas.views={_twice(tmp_path)}", "canvas.turns=2")
    config = small(*viewed)
    validate(config)
    assert identity(config) != identity(small(viewed[0]))
    assert obstacle(config) == "runs whose cameras turn are evaluated one by one" and not obstacle(small(viewed[0]))
    refused = {
        ("canvas.turns=2",): "canvas.turns=2 needs canvas.views=FILE",
        (*viewed[:1], "canvas.turns=0"): "positive",
    }
    for options, message in refused.items():
        with pytest.raises(InputError, match=message):
            validate(small(*options))


def test_a_run_whose_cameras_turn_cannot_be_lengthened(small: Callable, tmp_path: Path) -> None:
    write_smooth_picture(tmp_path / "a.png", 48, 48)
    options = (f"content.path={tmp_path}/a.png", "content=file", f"canvas.views={_twice(tmp_path)}", "canvas.turns=2")
    run(small(*options, "steps=2"), tmp_path / "run")
    with pytest.raises(InputError, match=r"canvas\.turns=2: with steps=4 each camera set would have taken other steps"):
        resume(tmp_path / "run", {"steps": 4})


def test_captures_of_views_do_not_have_the_alpha_of_the_texture(small: Callable, tmp_path: Path) -> None:
    picture = np.full((48, 48, 4), 200, np.uint8)
    picture[:, 24:, 3] = 0
    Image.fromarray(picture).save(tmp_path / "a.png")
    plane_views().write(tmp_path / "views")
    options = (f"content.path={tmp_path}/a.png", "content=file", f"canvas.views={tmp_path}/views", "steps=1")
    record = run(small(*options), tmp_path / "run")
    for name, mode in ((record.captures[-1].file, "RGB"), ("image.png", "RGBA")):
        with Image.open(tmp_path / "run" / name) as picture_file:
            assert picture_file.mode == mode


def test_line_search_starts_anew_at_each_turn(small: Callable, tmp_path: Path) -> None:
    write_smooth_picture(tmp_path / "a.png", 48, 48)
    options = (f"content.path={tmp_path}/a.png", "content=file", f"canvas.views={_twice(tmp_path)}", "canvas.turns=2")
    record = run(small(*options, "optimizer=lbfgs", "steps=4", "captures=[0,2,4]"), tmp_path / "run")
    first, between, last = (capture.losses["total"] for capture in record.captures)
    assert last < between < first


def test_what_an_earlier_turn_showed_counts_as_seen(small: Callable, torus: Path, tmp_path: Path) -> None:
    model, file = read_model(torus), tmp_path / "views"
    views = model_views(model, turned(lattice(1), 3), 35.0, 0.8, 60.0)
    views.write(file)
    model.canvas().save(tmp_path / "texture.png")
    config = small(f"canvas.views={file}", "canvas.turns=3", f"content.path={tmp_path}/texture.png", "content=file")
    sheets = [Sheet(views.turn(turn), (32, 48), torch.device("cpu"), torch.float32) for turn in range(3)]
    expected = sum(sheet.seen for sheet in sheets)
    assert (expected > 0).sum() > 1.2 * (sheets[2].seen > 0).sum()
    whole, resumed = prepare_run(config), prepare_run(config)
    for stage in stages(config):
        whole.enter(stage, None, fresh=True)
    resumed.enter(stages(config)[-1], None, fresh=False)
    for run_at_its_end in (whole, resumed):
        assert run_at_its_end.sheet is not None
        torch.testing.assert_close(run_at_its_end.sheet.seen, expected)
        torch.testing.assert_close(run_at_its_end.sheet.mask, sheets[2].mask)
    with pytest.raises(InputError, match=r"canvas.turns=4, but .*views has only 3 camera sets"):
        prepare_run(dataclasses.replace(config, canvas=dataclasses.replace(config.canvas, turns=4)))
