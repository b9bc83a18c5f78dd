"""What people's files look like, good and bad."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.common.errors import InputError
from src.data.images import read_image, smallest_edge, to_tensor, working_size, write_png

RED = (200, 30, 40)


def _picture(mode: str = "RGB", size: tuple[int, int] = (20, 12)) -> Image.Image:
    image = Image.new("RGB", size, RED)
    image.paste((10, 220, 30), (0, 0, 5, 5))
    return image.convert(mode)


def _read(image: Image.Image, path: Path, **options: object) -> np.ndarray:
    image.save(path, **options)  # type: ignore[arg-type]
    return np.asarray(read_image(path)).astype(int)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees
    found = _read(_picture(), tmp_path / "a.png", exif=exif)
    assert found.shape == (20, 12, 3)
    assert tuple(found[0, -1]) == (10, 220, 30)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("P", "png"), ("CMYK", "tiff"), ("1", "png"), ("YCbCr", "tiff")]
)
def test_modes_become_rgb(mode: str, suffix: str, tmp_path: Path) -> None:
    found = _read(_picture(mode), tmp_path / f"a.{suffix}")
    expected = np.asarray(_picture(mode).convert("RGB")).astype(int)
    assert found.shape == (12, 20, 3)
    assert np.abs(found - expected).max() <= 2


def test_alpha_is_composited_on_white(tmp_path: Path) -> None:
    image = _picture("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    found = _read(image, tmp_path / "a.png")
    alpha = np.asarray(image)[..., 3:] / 255.0
    expected = np.asarray(image)[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(found - expected).max() <= 1


def test_transparent_palette(tmp_path: Path) -> None:
    image = _picture("P")
    index = image.getpixel((0, 0))
    assert tuple(_read(image, tmp_path / "a.png", transparency=index)[0, 0]) == (255, 255, 255)


def test_16_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 240).reshape(12, 20).astype(np.uint16)
    found = _read(Image.fromarray(ramp), tmp_path / "a.png")
    assert np.abs(found[..., 0] - ramp / 257).max() <= 0.5 + 1e-6


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "really a png.jpg"
    _picture().save(path, "PNG")
    assert read_image(path).size == (20, 12)


def _bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello, I am no image", "is not an image"),
        (_bytes(_picture(size=(200, 200)), "JPEG")[:700], "damaged or truncated"),
        (_bytes(Image.effect_noise((200, 200), 50))[:4000], "damaged or truncated"),
        (_bytes(Image.new("RGB", (1, 1))), "1x1 px; each side must have at least 8"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such image file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


def test_an_absurd_size_is_refused_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    data = bytearray(_bytes(_picture()))
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header of a PNG
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"3600 megapixels; the limit is 100 \(raise it with max_megapixels=N\)"):
        read_image(path)


def test_working_sizes() -> None:
    assert working_size((1280, 720), 356, "keep") == (356, 200)
    assert working_size((720, 1280), 356, "keep") == (200, 356)
    assert working_size((1280, 720), 356, "squash") == (356, 356)
    edge = smallest_edge((1280, 720), 16, "keep")
    assert min(working_size((1280, 720), edge, "keep")) == 16
    assert min(working_size((1280, 720), edge - 1, "keep")) < 16


def test_resize_is_pillows_bilinear_and_png_round_trips(tmp_path: Path) -> None:
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    tensor = to_tensor(image, (16, 12))
    expected = np.asarray(image.resize((16, 12), Image.Resampling.BILINEAR)) / np.float32(255)
    np.testing.assert_array_equal(tensor[0].permute(1, 2, 0).numpy(), expected)
    write_png(tmp_path / "a.png", tensor[0])
    torch.testing.assert_close(to_tensor(read_image(tmp_path / "a.png"), (16, 12)), tensor)
    write_png(tmp_path / "b.png", torch.full((3, 9, 9), 2.0))
    assert np.asarray(read_image(tmp_path / "b.png")).min() == 255
