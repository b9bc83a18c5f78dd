"""Cameras around a model: on a sphere for the optimisation, on a circle for the turntable."""

import math

import numpy as np
from scipy.spatial.transform import Rotation

from src.data.views import Floats

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
MARGIN = 0.04  # least distance of the model from the border of a view, over the side of the view
TURNS_SEED = 1
UP = np.array([0.0, 1.0, 0.0])  # in glTF, and in most OBJ files


def lattice(count: int) -> Floats:
    """Return directions that are spread evenly over the sphere, (count, 3): a Fibonacci lattice."""
    number = np.arange(count)
    height = 1 - (2 * number + 1) / count
    angle = GOLDEN_ANGLE * number
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.sin(angle), height, radius * np.cos(angle)], 1)


def turned(directions: Floats, count: int) -> Floats:
    """Return directions (K, 3) as they are and turned at random, `count` times in all, (count, K, 3)."""
    turns = [np.eye(3), *Rotation.random(count - 1, random_state=TURNS_SEED).as_matrix()]
    return np.stack([directions @ turn.T for turn in turns])


def circle(count: int, elevation: float) -> Floats:
    """Return directions at one elevation (radians) once around the vertical axis, (count, 3)."""
    angle = 2 * math.pi * np.arange(count) / count
    level = np.stack([np.sin(angle), np.zeros(count), np.cos(angle)], 1)
    return math.cos(elevation) * level + math.sin(elevation) * UP


def around(points: Floats, directions: Floats, field_of_view: float) -> Floats:
    """Return cameras that look at the middle of a model, (K, 3, 4).

    A camera takes (x, y, z, 1) to x to the right, y down and z ahead of it. All have the same distance, at which the
    sphere around the model fills the field of view.

    Args:
        points: (N, 3), of the model.
        directions: (K, 3), from its middle to the cameras, of length 1.
        field_of_view: degrees.
    """
    middle = (points.min(0) + points.max(0)) / 2
    distance = np.linalg.norm(points - middle, axis=1).max() / math.sin(math.radians(field_of_view) / 2)
    cameras = []
    for direction in directions:
        ahead = -direction
        right = np.cross(ahead, UP if abs(direction @ UP) < 1 - 1e-9 else np.array([0.0, 0.0, -1.0]))
        right /= np.linalg.norm(right)
        turned = np.stack([right, np.cross(ahead, right), ahead])
        cameras.append(np.column_stack([turned, -turned @ (middle + distance * direction)]))
    return np.stack(cameras)


def fitting_focal(points: Floats, cameras: Floats) -> float:
    """Return the largest focal length, over the side of a view, at which every camera sees all points."""
    seen = np.einsum("kij,nj->kni", cameras[:, :, :3], points) + cameras[:, None, :, 3]
    widest = (np.abs(seen[..., :2]) / seen[..., 2:]).max()
    return float((0.5 - MARGIN) / widest)
