"""Image files as people have them, good and bad."""

import io
import logging
import os
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.common.errors import InputError
from src.data import deep
from src.data.images import (
    FORMATS,
    open_image,
    picture_size,
    read_image,
    read_pixels,
    reduced,
    smallest_edge,
    tensor_image,
    to_tensor,
    working_size,
    write_image,
)
from src.training.context import RunContext
from tests.support.pictures import write_smooth_picture

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


def test_the_format_is_read_from_the_content(tmp_path: Path) -> None:
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
        (b"hello, I am no image", "is not an image of a known format; one of: JPEG"),
        (_bytes(_picture(size=(200, 200)), "JPEG")[:700], "damaged or truncated"),
        (_bytes(Image.effect_noise((200, 200), 50))[:4000], "damaged or truncated"),
        (_bytes(Image.new("RGB", (1, 1))), "1x1 px; each side must have at least 8"),
    ],
)
def test_unreadable_files_are_errors_of_one_line(data: bytes, message: str, tmp_path: Path) -> None:
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


def test_a_huge_size_is_refused_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    data = bytearray(_bytes(_picture()))
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header of a PNG
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"3600 megapixels; the limit is 100 \(raise it with max_megapixels=N\)"):
        read_image(path)


EPS = """%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 40
({written}) (w) file dup (written by a picture) writestring closefile
0 0 40 40 rectfill
showpage
%%EOF
"""


@pytest.mark.parametrize("suffix", ["eps", "ps", "png"])
def test_postscript_never_reaches_an_interpreter(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EPS file that would create another one; a stand-in for `gs` shows whether it was called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    (tmp_path / "bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    path = tmp_path / f"a.{suffix}"
    path.write_text(EPS.format(written=tmp_path / "written"))
    for read in (read_image, picture_size, lambda path: reduced(path, 1600)):
        with pytest.raises(InputError, match="is not an image of a known format"):
            read(path)
    assert not (tmp_path / "called").exists() and not (tmp_path / "written").exists()
    with pytest.raises(OSError), Image.open(path) as image:  # what Pillow does by itself
        image.load()
    assert (tmp_path / "called").exists()


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("PSD", "MPO", "AVIF", "HEIF")])
def test_formats_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    _picture(size=(32, 32)).save(path, kind)
    assert read_image(path).size == (32, 32) == picture_size(path)


def test_an_icon_of_bitmaps_is_no_tga(tmp_path: Path) -> None:
    """A TGA file has no signature, and Pillow's reader takes this one for its own."""
    picture = _picture(size=(128, 128))
    picture.save(tmp_path / "a.ico", bitmap_format="bmp", sizes=[(128, 128)])
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.ico")), np.asarray(picture))


def test_an_mpo_of_a_phone(tmp_path: Path) -> None:
    _picture().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[_picture()])
    assert read_image(tmp_path / "a.jpg").size == (20, 12)


def test_fifos_dangling_links_and_devices_never_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name, message in (("fifo.png", "not a regular file"), ("link.png", "no such"), ("loop.png", "no such")):
        for read in (read_image, picture_size):
            with pytest.raises(InputError, match=message):
                read(tmp_path / name)
    with pytest.raises(InputError, match="not a regular file"):
        read_image("/dev/zero")
    with pytest.raises(InputError, match="File name too long"):
        read_image(tmp_path / ("x" * 300))
    with pytest.raises(InputError, match="there is no such user"):
        read_image("~no_such_user_here/x.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value: float, tmp_path: Path) -> None:
    values = np.full((12, 20), 0.5, np.float32)
    values[3, 4] = value
    Image.fromarray(values).save(tmp_path / "a.tiff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="not finite"):
            read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("top", [1.0, 65535.0])
def test_float_images(top: float, tmp_path: Path) -> None:
    ramp = np.linspace(0, top, 240, dtype=np.float32).reshape(12, 20)
    found = _read(Image.fromarray(ramp), tmp_path / "a.tiff")
    assert np.abs(found[..., 0] - ramp / top * 255).max() <= 0.51  # by way of 16 bits


def test_float_images_a_little_above_one_are_clipped(tmp_path: Path) -> None:
    """Resampling and sharpening go beyond the range."""
    ramp = np.linspace(0, 1.1, 240, dtype=np.float32).reshape(12, 20)
    found = _read(Image.fromarray(ramp), tmp_path / "a.tiff")
    assert np.abs(found[..., 0] - ramp.clip(0, 1) * 255).max() <= 0.51


def _logged(image: Image.Image, path: Path, caplog: pytest.LogCaptureFixture, **options: object) -> list[str]:
    image.save(path, **options)  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO):
        read_pixels(path, opaque=True)
    return caplog.messages


def test_what_is_lost_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not _logged(_picture("RGBA"), tmp_path / "opaque.png", caplog), "nothing is lost of opaque alpha"
    assert not _logged(_picture(), tmp_path / "a.jpg", caplog)
    clear = _picture("RGBA")
    clear.putpixel((3, 3), (0, 0, 0, 7))
    frames = [clear, _picture("RGBA"), clear.rotate(90)]
    [line] = _logged(frames[0], tmp_path / "b.png", caplog, save_all=True, append_images=frames[1:])
    assert line == f"{tmp_path}/b.png: the first of 3 frames is used, transparent parts become white"
    caplog.clear()
    assert not _logged(Image.fromarray(np.ones((12, 20), np.uint16)), tmp_path / "c.png", caplog)
    [line] = _logged(_picture(), tmp_path / "d.png", caplog, icc_profile=b"no profile")
    assert line == f"{tmp_path}/d.png: its colour profile cannot be used, so it is taken for sRGB"


def test_16_bit_colour_without_its_packages_is_logged(
    small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PNG of 16 bits a channel, of which Pillow reads 8."""
    for name in deep.PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    rows = b"".join(b"\0" + bytes(range(96)) for _ in range(16))
    chunks = [(b"IHDR", (16).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])), (b"IDAT", zlib.compress(rows))]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in [*chunks, (b"IEND", b"")]:
        data += len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    with caplog.at_level(logging.INFO):
        assert read_pixels(tmp_path / "a.png").size == (16, 16)
    hint = "for 16: pip install imagecodecs tifffile (the extra files)"
    assert caplog.messages == [f"{tmp_path}/a.png: values are reduced to 8 bits; {hint}"]
    with pytest.raises(InputError, match=r"depth=16 needs .* pip install imagecodecs tifffile"):
        RunContext(small("depth=16", "format=png"), tmp_path / "run").check()


def test_sizes_and_previews(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _picture(size=(2000, 1000)).save(tmp_path / "a.jpg", exif=exif)
    assert picture_size(tmp_path / "a.jpg") == (1000, 2000) == read_image(tmp_path / "a.jpg").size
    assert reduced(tmp_path / "a.jpg", 1600).size == (800, 1600)


def test_images_are_read_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys, src.data.images; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


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
    write_image(tmp_path / "a.png", tensor[0])
    torch.testing.assert_close(to_tensor(read_image(tmp_path / "a.png"), (16, 12)), tensor)
    assert np.array_equal(np.asarray(tensor_image(tensor[0])), np.asarray(read_image(tmp_path / "a.png")))
    values = torch.tensor([-0.1, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.5]).expand(4, 2, 5)
    shown = tensor_image(values.requires_grad_())
    assert shown.mode == "RGBA" and np.asarray(shown)[1, :, 3].tolist() == [0, 0, 1, 254, 255]
    write_image(tmp_path / "b.png", torch.full((3, 9, 9), 2.0))
    assert np.asarray(read_image(tmp_path / "b.png")).min() == 255


def test_pillows_limit_is_lifted_while_any_thread_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    write_smooth_picture(tmp_path / "a.png", 32, 32)
    first, second = (open_image(tmp_path / "a.png") for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is None, "the second one is still being read"
    second.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 100
