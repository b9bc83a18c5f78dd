"""Uploads: what is taken, what is refused, what is left behind, and who may have it."""

import asyncio
import io
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from src.app import uploads
from src.app.uploads import TooLarge, Upload, Uploads
from src.common.errors import InputError


def picture(kind: str = "PNG", size: tuple[int, int] = (32, 24)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "orange").save(buffer, kind)
    return buffer.getvalue()


def huge() -> bytes:
    """Return a PNG of 20000 x 20000 px in a few kB; its header is all that may be looked at."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    head = (20000).to_bytes(4) * 2 + bytes([1, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def receive(store: Uploads, data: bytes, name: str = "dog.png", session: str = "mine", kind: str = "content") -> Upload:
    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    return asyncio.run(store.receive(session, name, body(), kind))


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("TIFF", "tiff")])
def test_a_picture_is_kept_under_a_random_name_with_the_suffix_of_its_format(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    store, data = Uploads(tmp_path), picture(kind)
    first, second = (receive(store, data, "../../My dog, 1=[a].exe") for _ in range(2))
    assert first.identifier != second.identifier and len(first.identifier) == 32
    assert store.path(first) == tmp_path / first.identifier / f"My_dog_1_a.{suffix}"
    assert store.path(first).read_bytes() == data
    assert store.of("mine") == [first, second] and store.of("other") == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "dog.png is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known format"),
        (picture()[:-30], "damaged or truncated"),
        (picture(size=(4, 4)), "each side must have at least 8"),
        (huge(), "400 megapixels; the limit is 50"),
    ],
    ids=["empty", "svg", "eps", "truncated", "small", "huge"],
)
def test_anything_else_is_refused_in_one_line_and_leaves_nothing(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        receive(Uploads(tmp_path / "uploads"), data)
    assert "\n" not in str(error.value) and str(tmp_path) not in str(error.value), "no path of the server"
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_file_is_read_no_further_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 1 << 20)
    read = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(1)
            yield bytes(1 << 16)

    with pytest.raises(TooLarge, match="larger than 1 MB"):
        asyncio.run(Uploads(tmp_path).receive("mine", "dog.png", endless()))
    assert len(read) == 17 and list(tmp_path.iterdir()) == []
    monkeypatch.setattr(uploads, "MAX_TOTAL", 10)
    with pytest.raises(TooLarge, match=r"the upload quota \(0 GB\) is full; delete unused uploads in "):
        receive(Uploads(tmp_path), picture())


def test_uploads_at_the_same_time_do_not_exceed_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, store = picture(size=(640, 480)), Uploads(tmp_path)
    monkeypatch.setattr(uploads, "MAX_TOTAL", int(1.5 * len(data)))

    async def body() -> AsyncIterator[bytes]:
        yield data
        await asyncio.sleep(0.1)

    async def both() -> list[Upload | BaseException]:
        sent = (store.receive("mine", "dog.png", body()) for _ in range(2))
        return await asyncio.gather(*sent, return_exceptions=True)

    found = asyncio.run(both())
    assert sorted(map(type, found), key=str) == [TooLarge, Upload] and len(store.of("mine")) == 1


def test_what_a_picture_is_for_is_kept_and_unfinished_uploads_are_removed(tmp_path: Path) -> None:
    kept = receive(Uploads(tmp_path), picture(), kind="style")
    (tmp_path / ("0" * 32)).mkdir()
    (tmp_path / ("0" * 32) / "part").write_bytes(bytes(100))  # as a server that was killed leaves it
    again = Uploads(tmp_path)
    assert again.of("mine") == [kept] and kept.kind == "style"
    assert [path.name for path in tmp_path.iterdir()] == [kept.identifier]
    with pytest.raises(InputError, match="one of content, style, mask, not virus"):
        receive(again, picture(), kind="virus")


def test_only_the_session_that_sent_a_picture_finds_it(tmp_path: Path) -> None:
    store = Uploads(tmp_path / "uploads")
    kept = receive(store, picture())
    (tmp_path / "upload.json").write_bytes((tmp_path / "uploads" / kept.identifier / "upload.json").read_bytes())
    assert store.find("mine", kept.identifier) == kept
    for session, identifier in [("other", kept.identifier), ("", kept.identifier), ("mine", "0" * 32), ("mine", ".."),
                                ("mine", kept.identifier + "/"), ("mine", ""), ("mine", "/etc")]:  # fmt: skip
        with pytest.raises(InputError, match="send it again"):
            store.find(session, identifier)
