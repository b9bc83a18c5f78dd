import numpy as np
import pytest

from src.ops import rasterizing
from src.ops.rasterizing import NONE, rasterize

FOCAL, SIDE = 60.0, 48


def _triangles(seed: int, count: int) -> np.ndarray:
    """Return triangles of chance in front of the camera."""
    generator = np.random.default_rng(seed)
    middle = generator.uniform((-1, -1, 3), (1, 1, 6), (count, 1, 3))
    return middle + generator.uniform(-0.6, 0.6, (count, 3, 3))


def _rays() -> np.ndarray:
    place = np.arange(SIDE) + 0.5 - SIDE / 2
    x, y = np.meshgrid(place / FOCAL, place / FOCAL)
    return np.stack([x, y, np.ones_like(x)], -1)


def _cast(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return depth and triangle of the nearest hit of each ray (Möller and Trumbore 1997), one triangle at a time."""
    rays, depth = _rays(), np.full((SIDE, SIDE), np.inf)
    face = np.full((SIDE, SIDE), NONE)
    for number, (one, two, three) in enumerate(corners):
        first, second = two - one, three - one
        across = np.cross(rays, second)
        determinant = across @ first
        u = -(across @ one) / determinant
        upward = np.cross(-one, first)
        v = rays @ upward / determinant
        found = second @ upward / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (found > 0) & (found < depth)
        depth[hit], face[hit] = found[hit], number
    return depth, face


def test_each_pixel_shows_the_triangle_that_its_ray_hits_first() -> None:
    corners = _triangles(0, 60)
    depth, face = _cast(corners)
    hits = rasterize(corners, FOCAL, SIDE, SIDE)
    assert 0.3 < (face != NONE).mean() < 1
    assert (hits.face == face).all()
    shown = face != NONE
    points = np.einsum("nc,ncd->nd", hits.barycentric[shown], corners[face[shown]])
    np.testing.assert_allclose(points, _rays()[shown] * depth[shown, None], atol=1e-9)


def test_embree_sees_the_same() -> None:
    pytest.importorskip("embreex", reason="embreex is not installed")
    import trimesh
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    corners = _triangles(1, 300)
    mesh = trimesh.Trimesh(corners.reshape(-1, 3), np.arange(900).reshape(-1, 3), process=False)
    rays = _rays().reshape(-1, 3)
    found = RayMeshIntersector(mesh).intersects_first(np.zeros_like(rays), rays).reshape(SIDE, SIDE)
    differing = (rasterize(corners, FOCAL, SIDE, SIDE).face != found).mean()
    assert differing < 2e-3, "but for float32 at the edges"


def test_parts_and_order_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = _triangles(2, 40)
    whole = rasterize(corners, FOCAL, SIDE, SIDE)
    monkeypatch.setattr(rasterizing, "AT_ONCE", 500)
    parts = rasterize(corners, FOCAL, SIDE, SIDE)
    assert (parts.face == whole.face).all() and (parts.barycentric == whole.barycentric).all()
    turned = rasterize(corners[::-1, ::-1], FOCAL, SIDE, SIDE)
    assert (turned.face[whole.face != NONE] == 39 - whole.face[whole.face != NONE]).all()


def test_what_is_behind_outside_or_flat_is_not_seen() -> None:
    corners = np.array(
        [
            [[-1, -1, -2], [1, -1, -2], [0, 1, -2]],  # behind
            [[-1, -1, -1], [1, -1, 5], [0, 1, 5]],  # reaches behind
            [[50, 50, 3], [51, 50, 3], [50, 51, 3]],  # outside
            [[0, 0, 3], [1, 1, 3], [2, 2, 3]],  # without area
        ],
        float,
    )
    assert (rasterize(corners, FOCAL, SIDE, SIDE).face == NONE).all()
    assert (rasterize(corners[:0], FOCAL, SIDE, SIDE).face == NONE).all()
