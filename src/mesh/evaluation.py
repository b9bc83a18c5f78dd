"""Measure a painted model from cameras that it was not painted for."""

import dataclasses
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from src.common.platform import cpu_threads
from src.config.schedule import stages
from src.config.schema import Init, RunConfig, Schedule, result_file
from src.data.images import Pixels, read_pixels
from src.data.views import near_square, read_views
from src.mesh.cameras import around, lattice
from src.mesh.config import MeshConfig, run_of
from src.training.context import RunContext
from src.training.loop import find_device
from src.training.setup import PreparedRun, Shared

SETS, SEED = 6, 0  # of other cameras


def compare_views(config: MeshConfig, folder: Path, texture: Path, views_file: Path) -> dict[str, Any]:
    """Compare the style loss that a finished model has from its own cameras and from others.

    Statistics of few views vary more, so their loss is higher even where all of them were painted. Therefore both sides
    have the same number of views, `mesh.held_out`: the run's own cameras, those of each turn in groups that are spread
    evenly, and six sets of evenly spread cameras, each turned at random. A value is the mean over the groups.

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
    last = stages(run_of(config, texture, views_file))[-1]  # of few steps, not all turns are used
    own = [views.turn(number).cameras for number in range(last.turn + 1)]
    stride = len(own[0]) // count
    points = views.corners.reshape(-1, 3)
    turns = Rotation.random(SETS, random_state=SEED).as_matrix()
    groups = {
        "own": [cameras[first::stride][:count] for cameras in own for first in range(stride)],
        "others": [around(points, lattice(count) @ turn.T, config.mesh.fov) for turn in turns],
    }
    views = dataclasses.replace(views, sheet=np.array(near_square(count)), turns=np.array(1))
    result: dict[str, Any] = {"views": count}
    shared: Shared | None = None
    pictures = {"": folder / result_file(config), "_original": texture}
    images = [read_pixels(path, math.inf, opaque=True) for path in pictures.values()]
    with cpu_threads(config.trainer.threads), tempfile.TemporaryDirectory() as other:
        file = Path(other) / views_file.name
        for name, sets in groups.items():
            losses = []
            for cameras in sets:
                dataclasses.replace(views, cameras=cameras).write(file)
                found, shared = _style_losses(run_of(config, texture, file), images, Path(other) / "run", shared)
                losses.append(found)
            means = np.mean(losses, 0).tolist()
            result |= {name + suffix: mean for suffix, mean in zip(pictures, means, strict=True)}
    return result


def _style_losses(
    run: RunConfig, images: Sequence[Pixels], folder: Path, shared: Shared | None
) -> tuple[list[float], Shared]:
    """Return the style losses, relative to `loss.beta`, that a run has for textures, and what the next run can share.

    Args:
        run: its start does not matter.
        images: the textures.
        folder: of the run, which is not made.
        shared: of the run before, if any.
    """
    canvas = dataclasses.replace(run.canvas, turns=1)
    run = dataclasses.replace(run, init=Init(), schedule=Schedule("single", sizes=1, last=None), canvas=canvas)
    context = RunContext(run, folder)
    context.check()
    prepared = PreparedRun(context, find_device(run.trainer), shared)
    content = prepared.enter(stages(run)[-1], None, fresh=False)
    size = content.shape[3], content.shape[2]
    objective, losses = prepared.pair.objective, []
    style = [name for name, term in objective.terms.items() if term.taps and "style" in term.target_of]
    for image in images:
        with torch.no_grad():
            values = objective(prepared.shown(image.color(size).to(content))).terms
        losses.append(sum(float(objective.weights[name] * values[name].total) for name in style) / run.loss.beta)
    prepared.shared.targets.clear()  # each has views of its own
    return losses, prepared.shared
