"""Small 3D models and views of them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.data.views import Views


def grid_faces(rows: int, columns: int) -> np.ndarray:
    """Return two triangles for each cell of a grid of (rows + 1) x (columns + 1) vertices."""
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    right, below = corner + 1, corner + columns + 1
    return np.concatenate([np.stack([corner, below, right], 1), np.stack([right, below, below + 1], 1)])


def torus(rows: int = 8, columns: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices, UV coordinates (v upward) and triangles of a torus about the vertical axis."""
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, columns + 1), indexing="ij")
    tube, around = 2 * np.pi * v, 2 * np.pi * u
    radius = 1 + 0.45 * np.cos(tube)
    points = np.stack([radius * np.sin(around), 0.45 * np.sin(tube), radius * np.cos(around)], -1)
    return points.reshape(-1, 3), np.stack([u, v], -1).reshape(-1, 2), grid_faces(rows, columns)


def plane_views(samples: int = 1, distance: float = 3.0, side: float = 1.0) -> Views:
    """Return a unit square that fills the picture of a camera in front of it, texel for pixel with `samples=1`."""
    x, y = np.meshgrid([-0.5, 0.5], [-0.5, 0.5])
    points = np.stack([x, y, np.full_like(x, distance)], -1).reshape(-1, 3)
    faces = grid_faces(1, 1)
    return surface_views(points[faces], (points[:, :2] + 0.5)[faces], np.eye(3, 4)[None], distance, side, samples)


def surface_views(
    corners: np.ndarray, uv: np.ndarray, cameras: np.ndarray, focal: float, side: float, samples: int, **more: Any
) -> Views:
    """Return views of a surface with one texture."""
    columns = int(np.ceil(np.sqrt(len(cameras))))
    found = {
        "cell": np.zeros(len(corners), np.int64),
        "grid": np.array([1, 1]),
        "turns": np.array(1),
        "sheet": np.array([-(-len(cameras) // columns), columns]),
        "steepest": np.array(60.0),
    }
    numbers = {"focal": np.array(focal), "side": np.array(side), "samples": np.array(samples)}
    return Views(corners=corners, uv=uv, cameras=cameras, **numbers, **(found | more))


def texture(width: int = 48, height: int = 32, seed: int = 0) -> Image.Image:
    """Return a smooth texture of chance."""
    rough = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def write_torus(path: Path, image: Image.Image | None = None) -> None:
    """Write a textured torus as GLB."""
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    points, uv, faces = torus()
    material = PBRMaterial(baseColorTexture=image or texture(), metallicFactor=0.0, roughnessFactor=1.0)
    mesh = trimesh.Trimesh(points, faces, process=False, visual=TextureVisuals(uv=uv, material=material))
    path.write_bytes(mesh.export(file_type="glb"))


def write_square(folder: Path, material: str, image: str | None, uv: bool = True) -> Path:
    """Write a square as OBJ with a material library, whose lines name an image; return its path."""
    places = "".join(f"vt {u} {v}\n" for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))) if uv else ""
    face = "f 1/1 2/2 3/3 4/4" if uv else "f 1 2 3 4"
    path = folder / "square.obj"
    path.write_text(f"mtllib square.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n{places}usemtl wood\n{face}\n")
    (folder / "square.mtl").write_text(f"newmtl wood\nKd 0.2 0.4 0.6\n{material}\n")
    if image:
        (folder / image).parent.mkdir(exist_ok=True)
        texture().save(folder / image)
    return path
