"""Make `vase.glb`, a vase with a photograph on it: `python -m src.assets.models.vase`.

The photograph is `coffee.png` of scikit-image, by Rachel Michetti (CC0).
"""

import io
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from skimage import data
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

AROUND, ALONG = 48, 64
# Radius and height along the outline: from the middle of the foot up the outside, over the lip, down the inside.
OUTLINE = np.array([
    *((0.0, 0.0), (0.30, 0.0), (0.36, 0.03), (0.30, 0.10), (0.42, 0.30), (0.58, 0.55), (0.60, 0.80), (0.48, 1.05)),
    *((0.30, 1.25), (0.27, 1.40), (0.34, 1.52), (0.38, 1.55), (0.35, 1.56), (0.24, 1.42), (0.26, 1.24), (0.40, 1.0)),
])  # fmt: skip


def vase() -> trimesh.Trimesh:
    """Return the surface of revolution, with u around it and v along its outline."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(OUTLINE, axis=0), axis=1))])
    along = np.linspace(0, 1, ALONG + 1)
    radius, height = (np.interp(along, length / length[-1], OUTLINE[:, axis]) for axis in (0, 1))
    u = np.linspace(0, 1, AROUND + 1)
    across, up = np.meshgrid(u, along)
    angle = 2 * np.pi * across
    points = np.stack([radius[:, None] * np.sin(angle), np.broadcast_to(height[:, None], angle.shape),
                       radius[:, None] * np.cos(angle)], -1)  # fmt: skip
    corner = np.arange(ALONG)[:, None] * (AROUND + 1) + np.arange(AROUND)
    lower = np.stack([corner, corner + 1, corner + AROUND + 1], -1).reshape(-1, 3)
    upper = np.stack([corner + 1, corner + AROUND + 2, corner + AROUND + 1], -1).reshape(-1, 3)
    material = PBRMaterial(baseColorTexture=_photograph(), metallicFactor=0.0, roughnessFactor=1.0)
    return trimesh.Trimesh(
        points.reshape(-1, 3),
        np.concatenate([lower, upper]),
        visual=TextureVisuals(uv=np.stack([across, up], -1).reshape(-1, 2), material=material),
        process=False,
    )


def _photograph() -> Image.Image:
    """Return the photograph twice side by side, mirrored, so that it closes around the vase; as a small JPEG."""
    half = Image.fromarray(data.coffee()).resize((192, 256), Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (384, 256))
    whole.paste(half, (0, 0))
    whole.paste(half.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (192, 0))
    buffer = io.BytesIO()
    whole.save(buffer, "JPEG", quality=88)
    return Image.open(buffer)


if __name__ == "__main__":
    vase().export(Path(__file__).with_suffix(".glb"))
