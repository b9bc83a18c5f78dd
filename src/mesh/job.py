"""Paint the texture of a model by a run of style transfer, and write the model with it."""

import dataclasses
import io
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from src.common.errors import OTHER_FOLDER, SAME_COMMAND, InputError, resumed_by
from src.common.files import write_atomically
from src.config.schema import result_file
from src.data.images import read_image, working_size
from src.data.views import NAMES, Floats, Views, near_square, read_views
from src.mesh import turntable
from src.mesh.cameras import around, fitting_focal, lattice, turned
from src.mesh.config import LEAST_SAMPLES, MOST_SAMPLES, MeshConfig, check, model_path, run_of
from src.mesh.coverage import coverage, texels_per_pixel
from src.mesh.evaluation import compare_views
from src.mesh.models import Model, read_model
from src.run import run
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.transfer.views import Sheet

log = logging.getLogger(__name__)

TEXTURE, VIEWS = "original.png", "views.safetensors"  # what the run reads
MODEL, TURNTABLE, SHEET = "model.glb", "turntable.webp", "turntable.jpg"
HELD_OUT = "held_out.json"
FRAMES_OF_SHEET = 6
ENOUGH_TEXELS = 0.5  # along a pixel; fewer show as blurred squares
MOST_TEXELS = 1.5  # along a pixel; with more, the texture overfits the views of the run
ENOUGH_SHOWN = 0.8  # of the texture in use
ROUNDING = 1e-6  # of cameras and corners, relative to the largest of their values


def paint(config: MeshConfig, folder: Path) -> RunRecord:
    """Paint a model; write `model.glb`, its texture, a turntable, and everything about the run into `folder`.

    Repeated, it goes on where it was stopped, and leaves a finished model as it is; with another `mesh.frames` it makes
    the turntable anew, and with another `mesh.held_out` it compares views anew.

    Raises:
        InputError: an option or the model cannot be used, or the folder holds another run.
        NonFiniteLoss: as `src.run.run`.
        Interrupted: SIGINT or SIGTERM; the checkpoint is written.
    """
    check(config)
    path = model_path(config)
    log.info("reading %s", path)
    model = read_model(path)
    if records.read(folder) is not None and not (folder / TEXTURE).exists():
        raise InputError(f"{folder} holds another run; {OTHER_FOLDER}")
    _keep_texture(folder / TEXTURE, model.canvas(), path)
    _keep_views(folder / VIEWS, prepare_views(model, config))
    with resumed_by(SAME_COMMAND):
        record = run(
            run_of(config, folder / TEXTURE, folder / VIEWS),
            folder,
            outputs=lambda folder: write_outputs(model, config, folder),
        )
    if not (folder / MODEL).exists():  # python -m src.train finished the run
        write_outputs(model, config, folder)
    elif config.mesh.frames and turntable.length(folder / TURNTABLE) != config.mesh.frames:
        write_turntable(config, folder)
    if config.mesh.held_out and _compared(folder / HELD_OUT) != config.mesh.held_out:
        write_comparison(config, folder)
    log.info("%s", folder / MODEL)
    return record


def _keep_texture(path: Path, canvas: Image.Image, model: Path) -> None:
    if not path.exists():
        write_atomically(path, _encoded(canvas))
    elif not np.array_equal(np.asarray(read_image(path, math.inf)), np.asarray(canvas)):
        raise InputError(
            f"the textures of {model} have changed since the run in {path.parent} began; choose another folder with "
            "hydra.sweep.dir=DIR"
        )


def _keep_views(path: Path, views: Views) -> None:
    if not path.exists():
        views.write(path)
        return
    kept = read_views(path)
    if not all(_close(getattr(kept, name), getattr(views, name)) for name in NAMES):
        raise InputError(
            f"the run in {path.parent} began with other views or another shape (mesh.views, turns, size, fov, "
            "steepest, samples, or the model's file); choose another folder with hydra.sweep.dir=DIR"
        )


def _close(kept: Floats, found: Floats) -> bool:
    """Return whether arrays are equal up to rounding, which differs between processors and library versions."""
    return kept.shape == found.shape and np.allclose(kept, found, rtol=0, atol=ROUNDING * np.abs(kept).max(initial=0))


def _compared(path: Path) -> int:
    """Return the number of views of a comparison; 0 where there is none."""
    try:
        return int(json.loads(path.read_text())["views"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def prepare_views(model: Model, config: MeshConfig) -> Views:
    """Return a model under its cameras; log how much of the texture they show."""
    mesh, canvas = config.mesh, model.canvas()
    width, height = working_size(canvas.size, config.edge, config.fit)  # type: ignore[arg-type]
    directions = turned(lattice(mesh.views), mesh.turns)
    views = model_views(model, directions, mesh.fov, mesh.size / max(width, height), mesh.steepest)
    texels = texels_per_pixel(views.turn(0), (height, width))
    samples = mesh.samples or min(MOST_SAMPLES, max(LEAST_SAMPLES, math.ceil(texels)))
    views = dataclasses.replace(views, samples=np.array(samples))
    first = views.turn(0)
    found = coverage(first, Sheet(first, (height, width), torch.device("cpu"), torch.float32))
    log.info(
        "%d triangles, %d x %d views of %d px: %.0f%% of the texture is in use, the first %d views show %.0f%% of "
        "that, %.1f texels per pixel side, %d x %d rays per pixel",
        len(model.corners), mesh.turns, mesh.views, mesh.size, 100 * found.in_use, mesh.views, 100 * found.shown,
        texels, samples, samples,
    )  # fmt: skip
    if found.shown < ENOUGH_SHOWN:
        log.info("what no view shows is filled from its surroundings; more of it is painted with a larger mesh.views")
    if texels < ENOUGH_TEXELS:
        log.info("a texel is larger than a pixel: a larger edge, or a smaller mesh.size, gives a sharper texture")
    if texels > MOST_TEXELS:
        log.info("the texture is finer than views resolve: a smaller edge, or a larger mesh.size, suits other views")
    return views


def model_views(model: Model, directions: Floats, field_of_view: float, side: float, steepest: float) -> Views:
    """Return a model under cameras around it, with one ray per pixel.

    Args:
        model: the surface.
        directions: (T, K, 3), to the K cameras of each of T turns.
        field_of_view: degrees.
        side: of a view over the long side of the canvas.
        steepest: as of `Views`, degrees.
    """
    points = model.corners.reshape(-1, 3)
    cameras = around(points, directions.reshape(-1, 3), field_of_view)
    return Views(
        corners=model.corners,
        uv=model.uv,
        cell=model.cell,
        grid=np.array(model.grid),
        cameras=cameras,
        focal=np.array(fitting_focal(points, cameras)),
        side=np.array(side),
        sheet=np.array(near_square(directions.shape[1])),
        turns=np.array(len(directions)),
        samples=np.array(1),
        steepest=np.array(float(steepest)),
    )


def write_outputs(model: Model, config: MeshConfig, folder: Path) -> Mapping[str, Path]:
    """Write the painted model and its turntable; return the files by name."""
    canvas = read_image(folder / result_file(config), math.inf)
    write_atomically(folder / MODEL, model.glb(canvas))
    files = {"model": folder / MODEL}
    if config.mesh.frames:
        write_turntable(config, folder)
        files["turntable"] = folder / SHEET
    return files


def write_comparison(config: MeshConfig, folder: Path) -> None:
    """Measure the style loss from other cameras; write it and log it."""
    found = compare_views(config, folder, folder / TEXTURE, folder / VIEWS)
    write_atomically(folder / HELD_OUT, json.dumps(found, indent=1).encode())
    log.info(
        "style loss over %d held-out views: %.4g; over %d of the run's own: %.4g (%+.1f%%); of the original texture: "
        "%.4g and %.4g",
        found["views"], found["others"], found["views"], found["own"], 100 * (found["others"] / found["own"] - 1),
        found["others_original"], found["own_original"],
    )  # fmt: skip


def write_turntable(config: MeshConfig, folder: Path) -> None:
    """Write the turntable of a painted model, an animation and a sheet of some of its frames."""
    log.info("turntable: %d frames", config.mesh.frames)
    canvas = read_image(folder / result_file(config), math.inf)
    original = read_image(folder / TEXTURE, math.inf).resize(canvas.size, Image.Resampling.BILINEAR)
    before, after = turntable.frames(
        read_views(folder / VIEWS), (original, canvas), config.mesh.frames, config.mesh.size, config.mesh.fov
    )
    turntable.write_rows(folder / SHEET, [turntable.evenly(each, FRAMES_OF_SHEET) for each in (before, after)])
    turntable.write_animation(folder / TURNTABLE, after)  # last: its length tells whether it is up to date
