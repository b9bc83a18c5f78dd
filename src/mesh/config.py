"""Options of `python -m src.mesh`: those of a run, and the model with its cameras."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.common.files import expanded
from src.config.identity import identity, named
from src.config.options import option
from src.config.schema import Picture, RunConfig, run_part, style_scales
from src.config.validation import MOST_TURNS, check_ranges
from src.data.sources import sha256_of
from src.transfer.checks import check_options

SUFFIXES = (".glb", ".gltf", ".obj")
MOST_VIEWS = 256
SMALLEST_VIEW, LARGEST_VIEW = 16, 4096  # px
LEAST_SAMPLES, MOST_SAMPLES = 2, 4  # rays per pixel along an axis, where mesh.samples=null
WIDEST, NARROWEST = 120.0, 1.0  # field of view, degrees


@dataclass
class Mesh:
    """The model whose texture is painted, and the cameras that it is seen through."""

    path: str | None = option(None, "3D model with UV coordinates: .glb, .gltf or .obj (required)")
    views: int = option(16, "number of cameras, spread evenly over a sphere around the model")
    turns: int = option(8, "camera sets, used one after another at full size; all but the first are rotated at random")
    size: int = option(192, "side of a view at full size, px; edge is the long side of the texture")
    fov: float = option(35.0, "field of view of the cameras, degrees")
    steepest: float = option(
        60.0, "ignore surfaces seen at more than this angle between normal and viewing direction, degrees"
    )
    samples: int | None = option(
        None, "rays per pixel along either axis, 1 to 4; null: as many as a pixel covers texels, at least 2"
    )
    frames: int = option(36, "frames of the turntable; 0: none")
    held_out: int = option(
        0, "N: also measure the style loss from N unseen cameras and from N of the run's cameras; 0: off"
    )


@dataclass
class MeshConfig(RunConfig):
    """A run whose content is the texture of a model."""

    mesh: Mesh = option(Mesh, "model and cameras")


MESH_OPTIONS = ("mesh",)


def run_of(config: MeshConfig, texture: Path | None = None, views: Path | None = None) -> RunConfig:
    """Return the run that paints a model.

    Args:
        config: its options; `style_scale` is relative to a view.
        texture: canvas of the model, a file; None where it does not matter.
        views: file of its cameras; None where it does not matter.
    """
    run = run_part(config)
    scales = [scale * config.mesh.size / config.edge for scale in style_scales(config)]
    return dataclasses.replace(
        run,
        content=dataclasses.replace(config.content, name=Path(config.mesh.path or "").stem, path=_text(texture)),
        canvas=dataclasses.replace(config.canvas, views=_text(views), turns=config.mesh.turns if views else 1),
        style_scale=scales if len(scales) > 1 else scales[0],
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def specification(config: MeshConfig) -> dict[str, Any]:
    """Return what identifies a job: its run, its model and its cameras, but not what is made of the result."""
    mesh = dataclasses.asdict(config.mesh) | {"path": sha256_of(model_path(config))}
    del mesh["frames"], mesh["held_out"]
    return {**identity(run_of(config)), "mesh": mesh}


def job_folder(config: MeshConfig) -> str:
    """Check a job and return the name of its folder.

    Raises:
        InputError: names the bad value and what would be right.
    """
    check(config)
    return named(run_of(config), specification(config))


def model_path(config: MeshConfig) -> Path:
    """Return the path of the model.

    Raises:
        InputError: none is given, or it is none of a model.
    """
    if config.mesh.path is None:
        raise InputError("mesh.path=FILE is needed: a 3D model (.glb, .gltf or .obj)")
    path = expanded(config.mesh.path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"mesh.path={config.mesh.path}: a 3D model is a file of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"mesh.path: {'this is a folder' if path.is_dir() else 'no such file'}: {path}")
    return path


def check(config: MeshConfig) -> None:
    """Check the options of a job and of its run.

    Raises:
        InputError: names the bad value and what would be right.
    """
    mesh = config.mesh
    if dataclasses.replace(config.content, mask=None) != Picture():
        raise InputError("the content is the texture of the model: give mesh.path=FILE and no content=")
    if config.canvas.views is not None:
        raise InputError("canvas.views is the file that this command writes: give mesh.path=FILE instead")
    if config.canvas.turns != 1:
        raise InputError(f"give mesh.turns={config.canvas.turns} instead of canvas.turns")
    if config.resume is not None:
        raise InputError("resume= is not for models: repeat the same command to continue it")
    check_ranges(config, ("mesh.views", "mesh.turns", "mesh.fov"), ("mesh.frames", "mesh.held_out", "mesh.steepest"))
    if not SMALLEST_VIEW <= mesh.size <= LARGEST_VIEW:
        raise InputError(f"mesh.size must be in {SMALLEST_VIEW}..{LARGEST_VIEW} px, not {mesh.size}")
    if mesh.views > MOST_VIEWS:
        raise InputError(f"mesh.views must be in 1..{MOST_VIEWS}, not {mesh.views}")
    if mesh.turns > MOST_TURNS:
        raise InputError(f"mesh.turns must be in 1..{MOST_TURNS}, not {mesh.turns}")
    if mesh.turns > 1 and config.schedule.average:
        raise InputError("schedule.average is of the images of one camera set: give mesh.turns=1 as well")
    if mesh.held_out > mesh.views:
        raise InputError(f"mesh.held_out={mesh.held_out} must not be above mesh.views={mesh.views}")
    if mesh.held_out and not config.loss.beta:
        raise InputError(f"mesh.held_out={mesh.held_out} compares style losses: it needs loss.beta above 0")
    if not NARROWEST <= mesh.fov <= WIDEST:
        raise InputError(f"mesh.fov is an angle of {NARROWEST:g} to {WIDEST:g} degrees, not {mesh.fov:g}")
    if not 0 < mesh.steepest <= 90:
        raise InputError(f"mesh.steepest is an angle above 0 and at most 90 degrees, not {mesh.steepest:g}")
    if mesh.samples is not None and not 1 <= mesh.samples <= MOST_SAMPLES:
        raise InputError(f"mesh.samples must be in 1..{MOST_SAMPLES}, not {mesh.samples}")
    model_path(config)
    check_options(run_of(config))
