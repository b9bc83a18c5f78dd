"""Measure a painted model from cameras that it was not painted for."""

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from src.common.platform import cpu_threads
from src.config.schedule import stages
from src.config.schema import Canvas, Init, RunConfig, Schedule, result_file
from src.data.views import read_views
from src.mesh.cameras import around, lattice
from src.mesh.config import MeshConfig, run_of
from src.training.context import RunContext
from src.training.loop import find_device
from src.training.setup import PreparedRun, Shared

SETS = 3  # of other cameras


def compare_views(config: MeshConfig, folder: Path, texture: Path, views_file: Path) -> dict[str, Any]:
    """Compare the style loss that a finished model has from its own cameras and from others.

    Statistics of few views vary more, so their loss is higher even where all of them were painted. Therefore both sides
    have the same number of views, `mesh.held_out`: the run's own cameras in groups that are spread evenly, and three
    sets of evenly spread cameras, each turned at random. A value is the mean over the groups.

    Args:
        config: of the model.
        folder: of its run, finished.
        texture: its original texture.
        views_file: its own views.

    Returns:
        `views`, the number in a group; the losses `own` and `others`; `own_original` and `others_original`, those of
        the original texture.
    """
    views = read_views(views_file)
    count = config.mesh.held_out
    stride = len(views.cameras) // count
    points = views.corners.reshape(-1, 3)
    turns = Rotation.random(SETS, random_state=0).as_matrix()
    groups = {
        "own": [views.cameras[first::stride][:count] for first in range(stride)],
        "others": [around(points, lattice(count) @ turn.T, config.mesh.fov) for turn in turns],
    }
    columns = math.ceil(math.sqrt(count))
    sheet = np.array([math.ceil(count / columns), columns])
    result: dict[str, Any] = {"views": count}
    shared: Shared | None = None
    painted = {"": folder / result_file(config), "_original": texture}
    with cpu_threads(config.trainer.threads), tempfile.TemporaryDirectory() as other:
        file = Path(other) / views_file.name
        for name, sets in groups.items():
            losses: dict[str, list[float]] = {suffix: [] for suffix in painted}
            for cameras in sets:
                dataclasses.replace(views, cameras=cameras, sheet=sheet).write(file)
                for suffix, picture in painted.items():
                    loss, shared = _style_loss(run_of(config, texture, file), picture, shared)
                    losses[suffix].append(loss)
            result |= {name + suffix: float(np.mean(values)) for suffix, values in losses.items()}
    return result


def _style_loss(run: RunConfig, picture: Path, shared: Shared | None) -> tuple[float, Shared]:
    """Return the style loss of a run for a texture, and what the next run can share."""
    run = dataclasses.replace(
        run,
        init=Init("file", str(picture)),
        canvas=Canvas("pixel", views=run.canvas.views),
        schedule=Schedule("single", sizes=1, last=None),
    )
    context = RunContext(run, Path(run.canvas.views or "").parent / "run")
    context.check()
    prepared = PreparedRun(context, find_device(run.trainer), shared)
    image = prepared.enter(stages(run)[-1], None, fresh=True)
    with torch.no_grad():
        losses = prepared.pair.objective(prepared.shown(image), full=True)
    return float(losses.terms["style"].total), prepared.shared
