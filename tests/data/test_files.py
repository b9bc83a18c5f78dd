"""Transparency, colour profiles, 16 bits and formats: independent references, files in and out."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from src.common.errors import InputError
from src.config.schema import SUFFIXES, result_file
from src.data.images import Pixels, picture_size, read_image, read_pixels, write_image
from src.data.profiles import srgb_profile
from src.run import run
from tests.support.pictures import smooth_image

# Linear RGB of Display P3 (SMPTE EG 432-1 primaries, D65) to XYZ, and XYZ to linear sRGB (IEC 61966-2-1).
P3_TO_XYZ = [[0.48657095, 0.26566769, 0.19821729], [0.22897456, 0.69173852, 0.07928691], [0, 0.04511338, 1.04394437]]
SRGB_TO_XYZ = [[0.41239080, 0.35758434, 0.18048079], [0.21263901, 0.71516868, 0.07219232]]
SRGB_TO_XYZ += [[0.01933082, 0.11919478, 0.95053215]]


def _linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _lab(xyz: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* relative to D65."""
    t = xyz / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def _p3_profile() -> bytes:
    """Return a Display P3 profile (ICC version 2, primaries adapted to D50, a gamma table), made by hand."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d65, d50 = np.array([0.95047, 1.0, 1.08883]), np.array([0.9642, 1.0, 0.8249])
    adapt = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ d65)) @ bradford
    primaries = adapt @ np.array(P3_TO_XYZ)

    def xyz(values: np.ndarray) -> bytes:
        return (
            b"XYZ " + bytes(4) + b"".join(round(float(each) * 65536).to_bytes(4, "big", signed=True) for each in values)
        )

    table = (_linear(np.linspace(0, 1, 4096)) * 65535).round().astype(">u2").tobytes()
    curve = b"curv" + bytes(4) + (4096).to_bytes(4, "big") + table
    name = b"Display P3\0"
    desc = b"desc" + bytes(4) + len(name).to_bytes(4, "big") + name + bytes(78)
    tags = {b"desc": desc, b"wtpt": xyz(d50), b"cprt": b"text" + bytes(4) + b"none\0"}
    tags |= {key: xyz(primaries[:, place]) for place, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    offset, index, data = 128 + 4 + 12 * len(tags), len(tags).to_bytes(4, "big"), b""
    for key, body in tags.items():
        body += bytes(-len(body) % 4)
        index += key + (offset + len(data)).to_bytes(4, "big") + len(body).to_bytes(4, "big")
        data += body
    header = bytearray(128)
    header[0:4] = (offset + len(data)).to_bytes(4, "big")
    header[8:12], header[12:24] = b"\x02\x40\0\0", b"mntrRGB XYZ "
    header[36:40] = b"acsp"
    header[68:80] = xyz(d50)[8:]
    return bytes(header) + index + data


def _p3_error(found: np.ndarray, values: np.ndarray) -> float:
    """Return the largest delta E 1976 of sRGB values from Display P3 values, both (H, W, 3) in [0, 1]."""
    expected = _linear(values) @ np.array(P3_TO_XYZ).T
    return float(np.linalg.norm(_lab(_linear(found) @ np.array(SRGB_TO_XYZ).T) - _lab(expected), axis=-1).max())


def _muted() -> np.ndarray:
    """Return colours of Display P3 that sRGB has, too, (24, 40, 3) in [0, 1]."""
    return (smooth_image(3, 24, 40)[0].permute(1, 2, 0).numpy() * 0.25 + 0.4).astype(np.float64)


def test_a_display_p3_file_arrives_within_delta_e_1(tmp_path: Path) -> None:
    stored = (_muted() * 255).round().astype(np.uint8)
    for suffix, options in (("png", {}), ("tiff", {}), ("webp", {"lossless": True})):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(stored).save(path, icc_profile=_p3_profile(), **options)
        for found in (np.asarray(read_image(path)), read_pixels(path).values):
            assert _p3_error(found / 255, stored / 255) < 1
    assert _p3_error(stored / 255, stored / 255) > 3, "without conversion it would not"


def test_a_16_bit_display_p3_file_arrives_within_delta_e_1(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("imagecodecs")
    import tifffile

    stored = (_muted() * 65535).round().astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tiff", stored, photometric="rgb", iccprofile=_p3_profile())
    found = read_pixels(tmp_path / "a.tiff").values
    assert found.dtype == np.uint16 and _p3_error(found / 65535, stored / 65535) < 0.2
    tifffile.imwrite(tmp_path / "b.tiff", stored, photometric="rgb", iccprofile=b"no profile")
    with caplog.at_level(logging.INFO):
        assert np.array_equal(read_pixels(tmp_path / "b.tiff").values, stored)
    assert "its colour profile cannot be used" in caplog.text


def test_profiles_of_grey_and_damaged_profiles(tmp_path: Path) -> None:
    grey = Image.linear_gradient("L").resize((20, 16))
    grey.save(tmp_path / "srgb.png", icc_profile=srgb_profile())  # of colours: it is in sRGB already
    assert np.array_equal(np.asarray(read_image(tmp_path / "srgb.png"))[..., 0], np.asarray(grey))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    grey.convert("RGB").save(tmp_path / "lab.png", icc_profile=lab)
    assert np.array_equal(np.asarray(read_image(tmp_path / "lab.png"))[..., 0], np.asarray(grey))


def test_alpha_is_multiplied_before_resizing() -> None:
    """A green object on transparent red: no red reaches the object, and green continues into the transparency."""
    values = np.zeros((32, 48, 4), np.uint8)
    values[..., 0] = 255
    values[8:24, 13:35] = (0, 200, 0, 255)
    pixels = Pixels(values)
    color, alpha = pixels.color((24, 16)), pixels.alpha((24, 16))
    assert alpha is not None and color.shape == (1, 3, 16, 24) and alpha.shape == (1, 1, 16, 24)
    torch.testing.assert_close(color, torch.tensor([0, 200 / 255, 0]).view(1, 3, 1, 1).expand_as(color))
    expected = Image.fromarray(values[..., 3]).resize((24, 16), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(alpha[0, 0].numpy() * 255, np.asarray(expected), atol=1)


def test_half_transparent_pixels_keep_their_colours() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    values = np.concatenate([noise, np.full((20, 24, 1), 90, np.uint8)], 2)
    np.testing.assert_allclose(Pixels(values).color((24, 20))[0].permute(1, 2, 0) * 255, noise, atol=1e-2)


def test_an_image_that_is_transparent_everywhere(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="is transparent everywhere"):
        read_pixels(tmp_path / "a.png")


@pytest.mark.parametrize("kind", SUFFIXES)
def test_results_are_tagged_as_srgb_and_the_same_at_any_time(kind: str, tmp_path: Path) -> None:
    image, path = smooth_image(0, 20, 30)[0], tmp_path / f"a.{SUFFIXES[kind]}"
    write_image(path, image)
    first = path.read_bytes()
    write_image(path, image)
    assert path.read_bytes() == first
    with Image.open(path) as opened:
        assert opened.format == kind.upper()
        profile = ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"]))
    assert ImageCms.getProfileDescription(profile).startswith("sRGB")
    difference = np.asarray(read_image(path)) / 255 - image.permute(1, 2, 0).numpy()
    assert np.abs(difference).max() <= (0.06 if kind == "jpeg" else 0.5 / 255 + 1e-6)


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_16_bit_ramp_keeps_its_levels(kind: str, channels: int, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    ramp = torch.linspace(0, 1, 64 * 128).view(1, 64, 128).expand(channels, -1, -1)
    write_image(tmp_path / f"a.{kind}", ramp, depth=16)
    pixels = read_pixels(tmp_path / f"a.{kind}")
    assert pixels.values.dtype == np.uint16 and pixels.values.shape == (64, 128, channels)
    write_image(tmp_path / f"b.{kind}", pixels.color((128, 64))[0], depth=16)
    found = read_pixels(tmp_path / f"b.{kind}").values
    assert len(np.unique(found[..., 0])) > 4000
    np.testing.assert_allclose(found[0, 1:, 0], ramp[0, 0, 1:].numpy() * 65535, atol=1)
    with Image.open(tmp_path / f"b.{kind}") as opened:
        assert "icc_profile" in opened.info


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_files_are_turned_upright(orientation: int, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    import tifffile

    values = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "8.tiff", values, photometric="rgb", extratags=tag)
    tifffile.imwrite(tmp_path / "16.tiff", values.astype(np.uint16) * 257, photometric="rgb", extratags=tag)
    eight, sixteen = read_pixels(tmp_path / "8.tiff").values, read_pixels(tmp_path / "16.tiff").values
    assert np.array_equal(sixteen, eight.astype(np.uint16) * 257)
    assert picture_size(tmp_path / "16.tiff") == read_pixels(tmp_path / "16.tiff").size


def test_heic_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    path = tmp_path / "a.heic"
    Image.new("RGB", (32, 24), (200, 30, 40)).save(path, "HEIF", quality=95)
    assert np.abs(np.asarray(read_image(path)).astype(int) - (200, 30, 40)).max() < 8
    monkeypatch.delitem(Image.OPEN, "HEIF")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="is a HEIC file, which needs a package: pip install pillow-heif"):
        read_image(path)


def test_avif_files(tmp_path: Path) -> None:
    Image.new("RGB", (32, 24), (200, 30, 40)).save(tmp_path / "a.avif", quality=95)
    assert np.abs(np.asarray(read_image(tmp_path / "a.avif")).astype(int) - (200, 30, 40)).max() < 8


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_run_writes_its_format_and_keeps_alpha(kind: str, small: Callable, tmp_path: Path) -> None:
    values = np.asarray(smooth_image(0, 64, 96)[0].permute(1, 2, 0) * 255).astype(np.uint8)
    alpha = np.asarray(
        Image.radial_gradient("L").resize((96, 64)).point(lambda value: 255 - value if value < 170 else 0)
    )
    Image.fromarray(np.concatenate([values, alpha[..., None]], 2)).save(tmp_path / "photo.png")
    photo = ("content=file", f"content.path={tmp_path}/photo.png", "loss=moments", "captures=[1.0]")
    config = small(*photo, f"format={kind}", "schedule=pyramid", "edge=96", "captures=[2,6]")
    record = run(config, tmp_path / "run")
    assert [Path(each.file).suffix for each in record.captures] == [f".{SUFFIXES[kind]}"] * 2
    with Image.open(tmp_path / "run" / result_file(config)) as result:
        assert result.size == (record.width, record.height) == (96, 64)
        assert result.mode == ("RGB" if kind == "jpeg" else "RGBA")
        if kind != "jpeg":
            expected = Image.fromarray(alpha).resize(result.size, Image.Resampling.BILINEAR)
            assert np.abs(np.asarray(result)[..., 3].astype(int) - np.asarray(expected)).max() <= 1
    first = tmp_path / "run" / record.captures[0].file
    assert read_image(first).size != (96, 64)
    assert record.ssim is not None and record.ssim > 0.2


def test_a_16_bit_run_in_and_out(small: Callable, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    write_image(tmp_path / "photo.tiff", smooth_image(0, 64, 96)[0], depth=16)
    photo = ("content=file", f"content.path={tmp_path}/photo.tiff", "loss=moments", "captures=[1.0]", "edge=96")
    run(small(*photo, "depth=16", "optimizer.lr=1e-5"), tmp_path / "run")
    found, given = (read_pixels(path).values for path in (tmp_path / "run/image.png", tmp_path / "photo.tiff"))
    assert found.dtype == np.uint16 and len(np.unique(found)) > 4000
    assert np.abs(found.astype(int) - given).max() < 65535 * 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("depth=16", "format=jpeg"), "depth=16 needs format=png or format=tiff; jpeg has 8 bits"),
        (("depth=12",), "depth=12 is unknown; one of: 8, 16"),
        (("format=gif",), "format=gif is unknown; one of: png, jpeg, tiff, webp"),
        (("format=webp", "edge=20000"), "format=webp has at most 16383 px a side, not edge=20000"),
    ],
)
def test_what_a_format_cannot_hold_is_said(
    options: tuple[str, ...], message: str, small: Callable, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        run(small(*options), tmp_path)
