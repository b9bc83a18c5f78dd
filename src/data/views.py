"""Files of views: triangles with their places in a texture, and the cameras that see them (`canvas.views=FILE`)."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.common.errors import InputError, first_line
from src.common.files import write_atomically

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Views:
    """A textured surface and the cameras that it is seen through; sizes are relative to those of the canvas.

    The canvas is a grid of cells, each of which holds one texture. Its long side is `edge` of the run.

    Attributes:
        corners: (F, 3, 3), the corners of each triangle, x y z.
        uv: (F, 3, 2), their places in their texture: (0, 0) is its upper left corner, (1, 1) its lower right one;
            beyond them it repeats.
        cell: (F,), the number of the texture.
        grid: (2,), rows and columns of cells on the canvas.
        cameras: (T K, 3, 4), world-to-camera matrices [R | t], x right, y down, z forward; K in each of T turns.
        focal: (), focal length over the side of a view.
        side: (), side of a view over the long side of the canvas.
        sheet: (2,), rows and columns in which the K views of a turn are laid out.
        turns: (), T: number of camera sets, used one after another.
        samples: (), rays per pixel along either axis.
        steepest: (), largest angle between a counted surface's normal and the ray to the camera, degrees.
    """

    corners: Floats
    uv: Floats
    cell: NDArray[np.int64]
    grid: NDArray[np.int64]
    cameras: Floats
    focal: Floats
    side: Floats
    sheet: NDArray[np.int64]
    turns: NDArray[np.int64]
    samples: NDArray[np.int64]
    steepest: Floats

    def turn(self, number: int) -> "Views":
        """Return the surface under the cameras of one turn, counted from 0."""
        count = len(self.cameras) // int(self.turns)
        cameras = self.cameras[number * count : (number + 1) * count]
        return dataclasses.replace(self, cameras=cameras, turns=np.array(1))

    def write(self, path: Path) -> None:
        """Write the file; equal views make equal files."""
        from safetensors.numpy import save

        arrays = {name: np.asarray(value, order="C") for name, value in vars(self).items()}
        write_atomically(path, save(arrays))


def near_square(count: int) -> tuple[int, int]:
    """Return rows and columns of the grid in which so many cells are laid out, about as wide as high."""
    columns = math.ceil(math.sqrt(count))
    return math.ceil(count / columns), columns


NAMES = tuple(field.name for field in dataclasses.fields(Views))


def read_views(path: Path) -> Views:
    """Return the views of a file.

    Raises:
        InputError: it is no file of views.
    """
    from safetensors.numpy import load

    try:
        arrays = load(path.read_bytes())
        arrays.setdefault("turns", np.array(1))  # files of earlier versions
        faces, count = len(arrays["corners"]), len(arrays["cameras"])
        shapes = {"corners": (faces, 3, 3), "uv": (faces, 3, 2), "cell": (faces,), "cameras": (count, 3, 4)}
        shapes |= {"grid": (2,), "sheet": (2,)} | dict.fromkeys(("focal", "side", "turns", "samples", "steepest"), ())
        for name in NAMES:
            if arrays[name].shape != shapes[name]:
                raise ValueError(f"{name} has the shape {arrays[name].shape}")
        turns = int(arrays["turns"])
        if turns < 1 or not count or count % turns:
            raise ValueError(f"{count} cameras in {turns} turns")
        if arrays["sheet"].prod() * turns < count:
            raise ValueError("there is no room for all views")
        return Views(**{name: arrays[name] for name in NAMES})
    except OSError as error:
        raise InputError(f"canvas.views: cannot read {path}: {error.strerror}") from None
    except Exception as error:  # safetensors has an error of its own
        raise InputError(
            f"canvas.views: {path} is no file of views, as python -m src.mesh writes them ({first_line(error)})"
        ) from None
