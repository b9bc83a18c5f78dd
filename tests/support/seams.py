"""Steps of colour across the edges of a textured surface, at the seams of its UV map and inside of its islands."""

from collections import defaultdict

import numpy as np
import torch

from src.ops.sampling import bilinear_taps


def steps_across_edges(corners: np.ndarray, uv: np.ndarray, texture: np.ndarray, distance: float) -> tuple:
    """Return the mean step of colour across each seam, and across each edge inside of an island.

    Args:
        corners: (F, 3, 3).
        uv: (F, 3, 2), (0, 0) is the upper left of the texture.
        texture: (H, W, 3).
        distance: between the two points that are compared, in the units of the corners.
    """
    sides = defaultdict(list)
    for face in range(len(corners)):
        for corner in range(3):
            ends = [corner, (corner + 1) % 3]
            names = [tuple(np.round(corners[face, end], 5)) for end in ends]
            ends = ends if names[0] < names[1] else ends[::-1]
            sides[tuple(sorted(names))].append((face, ends))
    seams, inside = [], []
    for (first, last), pair in ((name, each) for name, each in sides.items() if len(each) == 2):
        if first == last:
            continue
        places = [uv[face][ends] for face, ends in pair]
        colors = [_beside(corners[face], uv[face], ends, texture, distance / 2) for face, ends in pair]
        step = np.abs(colors[0] - colors[1]).mean()
        (inside if np.allclose(places[0], places[1]) else seams).append(step)
    return np.array(seams), np.array(inside)


def _beside(corners: np.ndarray, uv: np.ndarray, ends: list, texture: np.ndarray, distance: float) -> np.ndarray:
    """Return the colours of points beside an edge of a triangle, (N, 3)."""
    (third,) = {0, 1, 2} - set(ends)
    along = np.linspace(0.1, 0.9, 5)
    start, edge = corners[ends[0]], corners[ends[1]] - corners[ends[0]]
    height = np.linalg.norm(np.cross(edge, corners[third] - start)) / np.linalg.norm(edge)
    inward = min(1.0, distance / height)
    foot = (corners[third] - start) @ edge / (edge @ edge)
    weights = np.zeros((len(along), 3))
    weights[:, third] = inward
    weights[:, ends[1]] = along - inward * foot
    weights[:, ends[0]] = 1 - weights.sum(1)
    places = torch.from_numpy(weights @ uv)
    height_px, width_px = texture.shape[:2]
    columns, rows, taps = bilinear_taps(
        places[:, 0] * width_px, places[:, 1] * height_px, torch.tensor(width_px), torch.tensor(height_px)
    )
    return (texture[rows.numpy(), columns.numpy()] * taps.numpy()[..., None]).sum(1)
