import math

import numpy as np
import pytest

from src.mesh.cameras import MARGIN, around, circle, fitting_focal, lattice, turned

POINTS = np.random.default_rng(0).normal(size=(50, 3)) * (1.0, 2.0, 0.5) + (3.0, -1.0, 2.0)


@pytest.mark.parametrize("count", [1, 2, 12, 50])
def test_directions_are_spread_evenly(count: int) -> None:
    directions = lattice(count)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.mean(0)[1], 0, atol=1e-12)
    if count >= 12:
        angles = np.arccos(np.clip(directions @ directions.T, -1, 1)) + 10 * np.eye(count)
        # a cap of area 4 pi / count has this radius; nearest neighbours are at 1.4 to 2 of it
        cap = math.acos(1 - 2 / count)
        assert angles.min(1).min() > 1.3 * cap and angles.min(1).max() < 2 * cap


def test_turned_directions_keep_their_angles() -> None:
    directions = lattice(5)
    found = turned(directions, 3)
    np.testing.assert_array_equal(found[0], directions)
    np.testing.assert_allclose(found @ found.swapaxes(1, 2), np.stack([directions @ directions.T] * 3), atol=1e-12)
    assert np.abs(found[1] - found[0]).max() > 0.1 and np.abs(found[2] - found[1]).max() > 0.1
    np.testing.assert_array_equal(turned(directions, 5)[:3], found)


def test_cameras_look_at_the_middle_upright_and_see_everything() -> None:
    directions = np.concatenate([lattice(9), circle(4, 0.3), [[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]])
    cameras = around(POINTS, directions, 40.0)
    middle = (POINTS.min(0) + POINTS.max(0)) / 2
    for camera, direction in zip(cameras, directions, strict=True):
        turned = camera[:, :3]
        np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turned) == pytest.approx(1)
        x, y, z = turned @ middle + camera[:, 3]
        assert (x, y) == pytest.approx((0, 0), abs=1e-9) and z > 0
        np.testing.assert_allclose(turned @ direction, (0, 0, -1), atol=1e-12)
        if abs(direction[1]) < 0.99:
            above = turned @ (middle + np.array([0, 0.1, 0])) + camera[:, 3]
            assert above[1] < 0 and above[0] == pytest.approx(0, abs=1e-9), "up is up: a smaller row"
    focal = fitting_focal(POINTS, cameras)
    seen = np.einsum("kij,nj->kni", cameras[:, :, :3], POINTS) + cameras[:, None, :, 3]
    places = focal * seen[..., :2] / seen[..., 2:]
    assert (seen[..., 2] > 0).all() and np.abs(places).max() == pytest.approx(0.5 - MARGIN)


def test_a_circle_goes_around_at_its_elevation() -> None:
    directions = circle(8, 0.5)
    np.testing.assert_allclose(np.arcsin(directions[:, 1]), 0.5)
    np.testing.assert_allclose(directions[0], (0, math.sin(0.5), math.cos(0.5)))
    assert directions[1, 0] > 0
