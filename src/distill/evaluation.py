"""Measure a network on photographs that it was not trained on, and show what it makes of them."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.common.errors import InputError, NonFiniteLoss
from src.common.files import write_atomically
from src.common.signals import Interrupts
from src.config.schedule import stages
from src.config.schema import Picture, RunConfig, result_file
from src.data.folders import distinct_names
from src.data.images import Pixels, read_pixels, write_image
from src.distill.config import DistillConfig, objective_run, style_names, style_pictures
from src.encoders.base import Encoder
from src.feedforward.tiles import stylise
from src.feedforward.weights import load_network
from src.report.sheet import Cell, Row, lay_out
from src.run import run
from src.training.setup import check_size, least_side
from src.transfer.objective import build_objective
from src.transfer.terms.base import Inputs

log = logging.getLogger(__name__)

FOLDER = "held_out"  # in the folder of the training; holds the pictures and the runs they are compared with
SHEET = "held_out.jpg"


def evaluate(
    config: DistillConfig,
    weights: Path,
    photographs: list[Path],
    styles: list[Tensor],
    encoder: Encoder,
    folder: Path,
    interrupts: Interrupts,
) -> list[dict[str, Any]]:
    """Stylise held-out photographs with a network, and return its total losses beside those of runs.

    Writes the pictures to `folder/held_out`, and a sheet of them. Photographs that cannot be read, or are too large or
    too narrow, are left out with a warning.

    Args:
        config: of the training; `compare` steps of the default optimiser make the runs.
        weights: file of the network.
        photographs: to stylise, at a long side of `config.edge` px.
        styles: images (1, 3, H, W) in [0, 1], one for each style of the network.
        encoder: measures.
        folder: of the training.
        interrupts: asked before every picture.

    Returns:
        Rows of {photograph, style, network, run}; `run` is None without comparison, or where its loss became NaN or
        infinite.

    Raises:
        Interrupted: SIGINT or SIGTERM; finished pictures are kept.
    """
    loaded, rows, shown = load_network(weights), [], []
    compared = [f"{config.compare} steps"] if config.compare else []
    for path, called in zip(photographs, distinct_names(photographs), strict=True):
        try:
            pixels, size = _read(path, config)
        except InputError as error:
            log.warning("%s left out: %s", path, error)
            continue
        content = pixels.color(size)
        cells: list[Cell | None] = [Cell(pixels.to_image(), called, [])]
        for name, picture, style in zip(style_names(config), style_pictures(config), styles, strict=True):
            interrupts.check()
            options = objective_run(config, picture)
            inputs = Inputs.of(content.to(encoder.mean), style.to(encoder.mean))
            objective = build_objective(options, encoder, inputs)
            file = folder / FOLDER / f"{called}-{name}.png"
            write_image(file, stylise(loaded.network, content, loaded.shares(name))[0])
            made = [file]
            if config.compare:
                made += _optimised(options, path, config, folder / FOLDER / f"{called}-{name}-{config.compare}")
            losses = [_total(objective, each, content) for each in made]
            by_run = losses[1] if len(made) > 1 else None
            rows.append({"photograph": called, "style": name, "network": losses[0], "run": by_run})
            told = f" (optimiser: {by_run:.3f})" if by_run else ""
            log.info("%s in the style of %s: loss %.3f%s", called, name, losses[0], told)
            cells += [
                Cell(read_pixels(each).to_image(), what, [f"{what}: {loss:.2f}"])
                for each, loss, what in zip(made, losses, (name, *compared), strict=False)
            ]
            if compared and by_run is None:
                cells.append(None)
        shown.append(Row([], cells))
    if shown:
        heads = [head for name in style_names(config) for head in (name, *compared)]
        write_atomically(folder / SHEET, lay_out(["", *heads], shown))
    return rows


def _read(path: Path, config: DistillConfig) -> tuple[Pixels, tuple[int, int]]:
    """Return a photograph, and its size (width, height) for the network and for a run.

    Raises:
        InputError: it cannot be read, or is too large, or too narrow for the layers in use.
    """
    options = objective_run(config, config.style)
    pixels, needed = read_pixels(path, config.max_megapixels, opaque=True), least_side(options)
    compared = stages(dataclasses.replace(options, steps=config.compare)) if config.compare else []
    edges = [stage.edge for stage in compared] or [config.edge]  # the last stage has the full size
    return pixels, [check_size("content", pixels, options, edge, needed) for edge in edges][-1]


def _total(objective: Any, path: Path, like: Tensor) -> float:
    image = read_pixels(path).color((like.shape[3], like.shape[2]))
    with torch.no_grad():
        return float(objective(image.to(objective.encoder.mean)).total)


def _optimised(options: RunConfig, photograph: Path, config: DistillConfig, folder: Path) -> list[Path]:
    """Return the picture of a run with the objective of the training and default settings otherwise.

    Returns:
        One file; none, with a warning, if the loss became NaN or infinite.
    """
    steps = dataclasses.replace(
        options,
        content=Picture(path=str(photograph)),
        steps=config.compare,
        captures=[1.0],
        logger=dataclasses.replace(options.logger, name="none"),
    )
    try:
        run(steps, folder, progress=False)
    except NonFiniteLoss as error:
        log.warning("%s left out of the comparison: %s", folder, error)
        return []
    return [folder / result_file(steps)]
