import io
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.common.errors import InputError
from src.mesh.models import read_model
from tests.support.models import texture, torus, write_square, write_torus

trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed (the extra mesh)")
SAMPLES = Path("/usr/share/assimp/models")  # of Debian's assimp-testmodels


@pytest.fixture
def samples() -> Path:
    """Debian's models for tests, where they are installed."""
    if not SAMPLES.is_dir():
        pytest.skip("assimp-testmodels is not installed")
    return SAMPLES


def _read_back(data: bytes) -> "trimesh.Scene":
    return trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False)


def test_glb_comes_back_with_its_geometry_and_another_texture(tmp_path: Path) -> None:
    write_torus(tmp_path / "a.glb")
    model = read_model(tmp_path / "a.glb")
    points, uv, faces = torus()
    np.testing.assert_allclose(model.corners, points[faces], atol=1e-6)
    np.testing.assert_allclose(model.uv, np.stack([uv[:, 0], 1 - uv[:, 1]], 1)[faces], atol=1e-6)
    assert np.array_equal(np.asarray(model.canvas()), np.asarray(texture().resize((96, 64), Image.Resampling.BICUBIC)))
    painted = texture(60, 40, seed=1)
    (part,) = _read_back(model.glb(painted)).geometry.values()
    np.testing.assert_allclose(part.vertices, points, atol=1e-6)
    np.testing.assert_allclose(part.visual.uv, uv, atol=1e-6)
    assert np.array_equal(part.faces, faces)
    assert np.array_equal(np.asarray(part.visual.material.baseColorTexture.convert("RGB")), np.asarray(painted))
    (tmp_path / "b.glb").write_bytes(model.glb(painted))
    again = read_model(tmp_path / "b.glb")
    assert np.array_equal(again.uv, model.uv) and np.array_equal(again.corners, model.corners)


def test_several_textures_share_a_canvas(tmp_path: Path) -> None:
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    points, uv, faces = torus()
    images = [texture(64, 64, seed) for seed in range(2)]
    alpha = images[1].copy()
    alpha.putalpha(Image.linear_gradient("L").resize((64, 64)))
    scene = trimesh.Scene()
    textures = {"a": images[0], "b": alpha, "c": images[0], "d": None}
    for number, (name, image) in enumerate(textures.items()):
        material = PBRMaterial(baseColorTexture=image, baseColorFactor=None if image else [10, 20, 30, 255])
        visual = TextureVisuals(uv=uv, material=material)
        place = trimesh.transformations.translation_matrix((3 * number, 0, 0))
        scene.add_geometry(
            trimesh.Trimesh(points, faces, process=False, visual=visual), geom_name=name, transform=place
        )
    scene.add_geometry(trimesh.creation.box(), geom_name="bare")
    (tmp_path / "scene.glb").write_bytes(scene.export(file_type="glb"))
    model = read_model(tmp_path / "scene.glb")
    assert model.grid == (2, 2) and len(model.textures) == 3 and model.canvas().size == (128, 128)
    assert {name: model.parts[name] for name in "abcd"} == {"a": 0, "b": 1, "c": 0, "d": 2}
    assert len(model.corners) == 4 * len(faces), "the box has no UV coordinates"
    assert model.corners[model.cell == 1][..., 0].min() > 1, "parts are where the scene has them"
    assert model.canvas().getpixel((20, 100)) == (56, 79, 96), "10, 20 and 30 of 255 are linear"
    painted = texture(200, 200, seed=5)
    written = _read_back(model.glb(painted)).geometry
    for name, box in {"a": (0, 0), "b": (100, 0), "c": (0, 0), "d": (0, 100)}.items():
        found = written[name].visual.material.baseColorTexture
        expected = painted.crop((*box, box[0] + 100, box[1] + 100))
        assert np.array_equal(np.asarray(found.convert("RGB")), np.asarray(expected))
        assert (found.mode == "RGBA") == (name == "b")
    assert len(written["bare"].faces) == 12


def test_a_tint_becomes_part_of_the_texture(tmp_path: Path) -> None:
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    points, uv, faces = torus()
    white = Image.new("RGB", (64, 64), (200, 200, 200))
    visual = TextureVisuals(uv=uv, material=PBRMaterial(baseColorTexture=white, baseColorFactor=[255, 128, 0, 77]))
    mesh = trimesh.Trimesh(points, faces, process=False, visual=visual)
    (tmp_path / "a.glb").write_bytes(mesh.export(file_type="glb"))
    model = read_model(tmp_path / "a.glb")
    half = 255 * (1.055 * (((200 / 255 + 0.055) / 1.055) ** 2.4 * 128 / 255) ** (1 / 2.4) - 0.055)  # of linear light
    assert model.canvas().getpixel((5, 5)) == pytest.approx((200, half, 0), abs=2) and half > 140
    (part,) = _read_back(model.glb(model.canvas())).geometry.values()
    assert part.visual.material.baseColorFactor.tolist() == [255, 255, 255, 77], "the opacity stays"


def test_a_plain_colour_is_converted_from_linear_light(tmp_path: Path) -> None:
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    points, uv, faces = torus()
    visual = TextureVisuals(uv=uv, material=PBRMaterial(baseColorFactor=[128, 255, 0, 255]))
    mesh = trimesh.Trimesh(points, faces, process=False, visual=visual)
    (tmp_path / "a.glb").write_bytes(mesh.export(file_type="glb"))
    assert read_model(tmp_path / "a.glb").canvas().getpixel((5, 5)) == (188, 255, 0)


@pytest.mark.parametrize("line", ["map_Kd wood.png", "map_Kd .\\wood.png", "map_Kd images\\wood.png"])
def test_obj_finds_its_texture_by_names_of_either_system(line: str, tmp_path: Path) -> None:
    image = "images/wood.png" if "images" in line else "wood.png"
    model = read_model(write_square(tmp_path, line, image))
    assert np.array_equal(np.asarray(model.textures[0]), np.asarray(texture()))
    assert len(model.corners) == 2
    (part,) = _read_back(model.glb(texture(seed=1))).geometry.values()
    assert part.visual.material.metallicFactor == 0, "or it would be dark in a viewer"


def test_a_missing_image_is_told_and_the_part_gets_a_plain_texture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        model = read_model(write_square(tmp_path, "map_Kd none.png", None))
    assert "images are not there: none.png" in caplog.text
    assert model.canvas().getpixel((0, 0)) == pytest.approx((51, 102, 153), abs=1)


FILES = {
    "empty.glb": b"",
    "text.glb": b"a model",
    "truncated.glb": None,
    "empty.obj": b"",
    "points.obj": b"v 0 0 0\nv 1 0 0\n",
    "index.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 9/1\n",
    "bad.gltf": b"{",
    "old.gltf": b'{"asset": {"version": "1.0"}}',
    "missing.gltf": b'{"asset": {"version": "2.0"}, "buffers": [{"uri": "a.bin", "byteLength": 4}]}',
    "nan.obj": b"v nan 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n",
    "flat.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.5 0.5\nf 1/1 2/1 3/1\n",
    "bare.obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "point.obj": b"v 0 0 0\nv 0 0 0\nv 0 0 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n",
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files_are_told_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if FILES[name] is None:
        write_torus(path)
        path.write_bytes(path.read_bytes()[:-500])
    else:
        path.write_bytes(FILES[name])
    with pytest.raises(InputError) as told:
        read_model(path)
    assert name in str(told.value) and "\n" not in str(told.value)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(InputError, match=r"a 3D model needs .*pip install trimesh \(the extra mesh\)"):
        read_model(tmp_path / "a.glb")


@pytest.mark.parametrize("name", ["OBJ/spider.obj", "glTF2/BoxTextured-glTF/BoxTextured.gltf",
                                  "glTF2/BoxTextured-glTF-Binary/BoxTextured.glb"])  # fmt: skip
def test_models_of_others_come_back_with_their_uv_coordinates(name: str, samples: Path, tmp_path: Path) -> None:
    model = read_model(samples / name)
    assert all(image.size != (64, 64) for image in model.textures), "all images were found"
    path = tmp_path / "painted.glb"
    path.write_bytes(model.glb(model.canvas()))
    again = read_model(path)
    np.testing.assert_allclose(again.corners, model.corners, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(again.uv, model.uv, atol=1e-5)


def test_malformed_models_of_others_are_told_in_one_line(samples: Path) -> None:
    paths = [path for folder in ("invalid", "glTF2/wrongTypes", "glTF2/IndexOutOfRange", "glTF2/MissingBin")
             for path in sorted((samples / folder).iterdir()) if path.suffix in (".obj", ".gltf", ".glb")]  # fmt: skip
    assert len(paths) >= 8
    told = []
    for path in paths:
        try:
            assert np.isfinite(read_model(path).corners).all(), "trimesh reads past what is wrong in a few"
        except InputError as error:
            told.append(str(error))
    assert len(told) >= 8 and not any("\n" in each for each in told)
