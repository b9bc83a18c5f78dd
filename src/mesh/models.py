"""Read 3D models with their textures, put the textures on one canvas, and write a model with another canvas."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.common.errors import InputError, first_line
from src.common.packages import require
from src.data.views import Floats, near_square

if TYPE_CHECKING:
    import trimesh

log = logging.getLogger(__name__)

LEAST_SIDE = 64  # px: smaller textures are enlarged, so that a canvas can be read as an image
LARGEST_CELL = 4096  # px, of the canvas as a file
PLAIN = (230, 230, 230)  # of a part whose material names no colour
LEAST_AREA = 1e-6  # of a texture that the triangles have to cover


@dataclass(frozen=True)
class Model:
    """A scene of triangles with UV coordinates.

    Attributes:
        scene: as it was read.
        corners: (F, 3, 3), of all triangles, in the scene's coordinates.
        uv: (F, 3, 2), their places in their texture, (0, 0) at the upper left; it repeats beyond [0, 1].
        cell: (F,), number of the texture.
        textures: RGB or RGBA.
        parts: by name of a part of the scene, the number of its texture.
    """

    scene: "trimesh.Scene"
    corners: Floats
    uv: Floats
    cell: NDArray[np.int64]
    textures: list[Image.Image]
    parts: dict[str, int]

    @property
    def grid(self) -> tuple[int, int]:
        """Return rows and columns of the canvas, a grid with a texture in each cell."""
        return near_square(len(self.textures))

    def canvas(self) -> Image.Image:
        """Return the textures on one canvas, RGB; several of them in cells of one size."""
        side = [max(texture.size[axis] for texture in self.textures) for axis in (0, 1)]
        scale = min(1.0, LARGEST_CELL / max(side)) * max(1.0, LEAST_SIDE / min(side))
        width, height = (max(1, round(scale * length)) for length in side)
        rows, columns = self.grid
        canvas = Image.new("RGB", (columns * width, rows * height), PLAIN)
        for number, texture in enumerate(self.textures):
            row, column = divmod(number, columns)
            cell = texture.convert("RGB")
            if cell.size != (width, height):
                cell = cell.resize((width, height), Image.Resampling.BICUBIC)
            canvas.paste(cell, (column * width, row * height))
        return canvas

    def glb(self, canvas: Image.Image) -> bytes:
        """Return the scene as GLB with the textures of a canvas; geometry and UV coordinates are unchanged."""
        rows, columns = self.grid
        borders = [np.rint(np.arange(count + 1) * whole / count).astype(int) for count, whole in
                   ((columns, canvas.width), (rows, canvas.height))]  # fmt: skip
        painted = self.scene.copy()
        for name, number in self.parts.items():
            row, column = divmod(number, columns)
            box = (borders[0][column], borders[1][row], borders[0][column + 1], borders[1][row + 1])
            texture = canvas.crop(box)
            if self.textures[number].mode == "RGBA":
                texture.putalpha(self.textures[number].getchannel("A").resize(texture.size))
            visual = painted.geometry[name].visual
            material = visual.material
            if not hasattr(material, "baseColorTexture"):  # of OBJ
                material = material.to_pbr()
                material.metallicFactor, material.roughnessFactor = 0.0, 1.0
            else:
                material = material.copy()
            opacity = 255 if material.baseColorFactor is None else int(material.baseColorFactor[3])
            material.baseColorTexture = texture
            material.baseColorFactor = None if opacity == 255 else [255, 255, 255, opacity]
            visual.material = material
        return bytes(painted.export(file_type="glb"))


def read_model(path: Path) -> Model:
    """Read a model file (.glb, .gltf or .obj) with its textures.

    Parts without UV coordinates are left out of the views, and stay as they are. A part without a texture gets one of
    its own, in the colour of its material.

    Raises:
        InputError: the file cannot be read, or holds nothing that has a texture.
    """
    require("a 3D model", "mesh", {"trimesh": "trimesh"})
    import trimesh

    trimesh.util.log.setLevel(logging.ERROR + 1)  # what is wrong is told below, in one line
    resolver = _resolver(path)
    try:
        scene = trimesh.load_scene(str(path), process=False, resolver=resolver)
    except FileNotFoundError as error:
        raise InputError(f"{path} needs the file {error.filename or error}, which is not there") from None
    except MemoryError:
        raise
    except Exception as error:  # trimesh raises many types for a damaged file
        raise InputError(f"{path} cannot be read as a 3D model ({type(error).__name__}: {first_line(error)})") from None
    if missing := [name for name in resolver.missing if Path(name).suffix.lower() not in (".mtl", "")]:
        log.warning("%s: images are not there: %s; these parts start in a plain colour", path, ", ".join(missing))
    return _collected(path, scene)


def _resolver(path: Path) -> Any:
    """Return what finds the files that a model names, also by names with backslashes, and notes those missing."""
    from trimesh.resolvers import FilePathResolver

    class Resolver(FilePathResolver):
        missing: list[str]

        def get(self, name: str) -> Any:
            try:
                return super().get(name.strip().replace("\\", "/"))
            except Exception:
                self.missing.append(name.strip())
                raise

    found = Resolver(str(path))
    found.missing = []
    return found


def _collected(path: Path, scene: "trimesh.Scene") -> Model:
    corners, places, cells = [], [], []
    textures: dict[Any, int] = {}
    images: list[Image.Image] = []
    parts: dict[str, int] = {}
    meshes = {name: part for name, part in scene.geometry.items() if len(getattr(part, "faces", ()))}
    if not meshes:
        raise InputError(f"{path} has no triangles")
    for node in sorted(scene.graph.nodes_geometry):  # trimesh has them in no certain order
        transform, geometry = scene.graph[node]
        name = str(geometry)
        part = meshes.get(name)
        uv = getattr(getattr(part, "visual", None), "uv", None)
        if part is None or uv is None or len(uv) != len(part.vertices):
            continue
        vertices = part.vertices @ transform[:3, :3].T + transform[:3, 3]
        if not (np.isfinite(vertices).all() and np.isfinite(uv).all()):
            raise InputError(f"{path}: {name} has coordinates that are not finite numbers")
        if name not in parts:
            key, image = _texture(name, part.visual.material)
            if key not in textures:
                textures[key] = len(images)
                images.append(image)
            parts[name] = textures[key]
        corners.append(vertices[part.faces])
        places.append(np.stack([uv[:, 0], 1 - uv[:, 1]], 1)[part.faces])
        cells.append(np.full(len(part.faces), parts[name]))
    if not parts:
        raise InputError(f"{path} has no UV coordinates, so no texture can be painted: unwrap it first, as in Blender")
    model = Model(scene, np.concatenate(corners), np.concatenate(places), np.concatenate(cells), images, parts)
    edges = model.uv[:, 1:] - model.uv[:, :1]
    if np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum() / 2 < LEAST_AREA:
        raise InputError(f"{path}: its UV coordinates cover no area of a texture: unwrap it first, as in Blender")
    if np.ptp(model.corners.reshape(-1, 3), axis=0).max() <= 0:
        raise InputError(f"{path}: all of its triangles are at one point")
    if left := [name for name in meshes if name not in parts]:
        log.info("%s: %d parts without UV coordinates stay as they are, and are left out of the views", path, len(left))
    return model


def _texture(name: str, material: Any) -> tuple[Any, Image.Image]:
    """Return what identifies the texture of a part, and the texture: its image, or the plain colour of its material."""
    from trimesh.visual.color import linear_to_srgb

    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    factor = getattr(material, "baseColorFactor", None) if hasattr(material, "baseColorTexture") else None
    linear = None if factor is None else np.asarray(factor[:3]) / 255  # glTF's factors are linear, its textures sRGB
    if image is None:
        color = getattr(material, "main_color", None) if linear is None else 255 * linear_to_srgb(linear)
        plain = tuple(round(float(value)) for value in (PLAIN if color is None else color)[:3])
        return name, Image.new("RGB", (LEAST_SIDE, LEAST_SIDE), plain)
    transparent = image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info
    image = image.convert("RGBA" if transparent else "RGB")
    if linear is not None and linear.min() < 1:
        image = _tinted(image, linear)
    return (image.size, image.mode, image.tobytes()), image


def _tinted(image: Image.Image, factors: np.ndarray) -> Image.Image:
    """Multiply the linear colours of an sRGB image, RGB or RGBA."""
    from trimesh.visual.color import linear_to_srgb, srgb_to_linear

    values = np.asarray(image).copy()
    values[..., :3] = (255 * linear_to_srgb(factors * srgb_to_linear(values[..., :3] / 255))).round()
    return Image.fromarray(values)
