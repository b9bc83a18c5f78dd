"""Known images are pinned, downloaded once, and checked wherever they are found."""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import ClassVar

import pytest
from omegaconf import OmegaConf

from src.common.errors import InputError
from src.common.files import cache_folder
from src.config.schema import CONF, Init, Picture, RunConfig
from src.data import sources

DATA = b"the bytes of a picture"
DIGEST = hashlib.sha256(DATA).hexdigest()


def _picture(address: str, **more: str) -> Picture:
    return Picture(name="beach", url=f"{address}/Content/a%20beach.jpg", sha256=more.get("sha256", DIGEST))


@pytest.fixture
def served(file_server: tuple[str, Path]) -> str:
    address, folder = file_server
    (folder / "Content").mkdir()
    (folder / "Content/a beach.jpg").write_bytes(DATA)
    return address


def test_downloaded_once_then_cached(served: str, file_server: tuple[str, Path]) -> None:
    found = sources.find_picture("content", _picture(served))
    assert found.sha256 == DIGEST and found.path.read_bytes() == DATA
    assert found.path.parent == cache_folder() / "content" and found.path.name.endswith("-a beach.jpg")
    (file_server[1] / "Content/a beach.jpg").unlink()
    assert sources.find_picture("content", _picture(served)) == found


def test_an_address_without_a_checksum_has_a_place_of_its_own(served: str, file_server: tuple[str, Path]) -> None:
    (file_server[1] / "Other").mkdir()
    (file_server[1] / "Other/a beach.jpg").write_bytes(b"another")
    for folder, data in (("Content", DATA), ("Other", b"another")):
        picture = Picture(url=f"{served}/{folder}/a%20beach.jpg")
        assert sources.find_picture("content", picture).path.read_bytes() == data


def test_the_mirror_comes_first(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "content/a beach.jpg").write_bytes(DATA)
    found = sources.find_picture("content", _picture("http://127.0.0.1:9"), mirror=str(tmp_path))
    assert found.path == tmp_path / "content/a beach.jpg"


def test_the_mirror_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLE_MIRROR", str(tmp_path / "missing"))
    with pytest.raises(InputError, match=r"is no folder .*STYLE_MIRROR"):
        sources.find_picture("content", _picture("http://127.0.0.1:9"))


def test_a_wrong_checksum_is_an_error_everywhere(served: str, tmp_path: Path) -> None:
    wrong = _picture(served, sha256="ab" * 32)
    with pytest.raises(InputError, match="nothing was kept"):
        sources.find_picture("content", wrong)
    assert not any(path.is_file() for path in cache_folder().rglob("*"))
    (tmp_path / "content").mkdir()
    (tmp_path / "content/a beach.jpg").write_bytes(b"another picture")
    with pytest.raises(InputError, match="another file, or a damaged one"):
        sources.find_picture("content", _picture(served), mirror=str(tmp_path))


@pytest.fixture(autouse=True)
def _untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_FAILED", {})


def test_an_address_that_failed_is_tried_again_only_later(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def refuse(url: str, **_: object) -> None:
        tried.append(url)
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    messages = []
    for name in ("a", "a", "b"):
        with pytest.raises(InputError) as caught:
            sources.find_picture("content", Picture(url=f"http://host/{name}.jpg"))
        messages.append(str(caught.value))
    assert tried == ["http://host/a.jpg", "http://host/b.jpg"] and messages[0] == messages[1]
    monkeypatch.setattr(sources, "_FAILED", {url: (0.0, told) for url, (_, told) in sources._FAILED.items()})
    with pytest.raises(InputError, match="timed out"):
        sources.find_picture("content", Picture(url="http://host/a.jpg"))
    assert tried[2:] == ["http://host/a.jpg"]


def test_a_connection_that_breaks_is_an_error_of_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.BytesIO):
        headers: ClassVar[dict[str, str]] = {}

        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError("reset by peer")

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Broken())
    with pytest.raises(InputError, match=r"cannot download http://host/a\.jpg \(reset by peer\)"):
        sources.find_picture("content", Picture(url="http://host/a.jpg"))
    assert not any(path.is_file() for path in cache_folder().rglob("*"))


@pytest.mark.parametrize(
    "url", ["nonsense", "http://", "http://[x", "file:///etc/passwd", "http://host:x/a.jpg", "ftp://h/a"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InputError, match="is no address; write http"):
        sources.find_picture("style", Picture(url=url))
    config = RunConfig(content=Picture(url=url), style=Picture(package="src:assets/styles/dots.jpg"))
    with pytest.raises(InputError, match="is no address"):
        sources.check_local_files(config)


def test_a_long_name_at_an_address_has_a_short_one_in_the_cache(file_server: tuple[str, Path]) -> None:
    address, folder = file_server
    (folder / f"{'x' * 200}.jpg").write_bytes(DATA)
    found = sources.find_picture("style", Picture(url=f"{address}/{'x' * 200}.jpg"))
    assert found.sha256 == DIGEST and len(found.path.name) < 130


def test_a_read_only_cache_is_read_and_a_temporary_one_written(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sources.find_picture("content", _picture(served))
    other = tmp_path / "temporary"
    monkeypatch.setattr(sources, "cache_folder", lambda: other)
    assert sources.find_picture("content", _picture(served)) == found
    monkeypatch.setenv("STYLE_CACHE", "/dev/null/cache")
    assert sources.find_picture("content", _picture(served)).path.parent == other / "content"


def test_local_files_are_checked_before_a_run(tmp_path: Path) -> None:
    dots = Picture(package="src:assets/styles/dots.jpg")
    sources.check_local_files(RunConfig(content=Picture(url="http://host/never-asked.jpg"), style=dots))
    for config in (
        RunConfig(content=Picture(path=str(tmp_path / "none.jpg")), style=dots),
        RunConfig(content=dots, style=dots, init=Init(name="file", path=str(tmp_path / "none.jpg"))),
    ):
        with pytest.raises(InputError, match="no such file"):
            sources.check_local_files(config)
    with pytest.raises(InputError, match="is no folder"):
        sources.check_local_files(RunConfig(content=dots, style=dots, mirror=str(tmp_path / "none")))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="not a regular file"):
        sources.find_picture("content", Picture(path=str(tmp_path / "fifo")))


@pytest.mark.parametrize("path", ["/Content/none.jpg", ""])
def test_a_failed_download_says_where_to_put_the_file(path: str, served: str) -> None:
    address = f"{served}{path}" if path else "http://127.0.0.1:9/x.jpg"
    with pytest.raises(InputError, match=f"cannot download {address} .*expected sha256 {DIGEST}.*mirror=DIR"):
        sources.find_picture("content", Picture(name="x", url=address, sha256=DIGEST))


def test_files_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "my photo, 1=[2].jpg"
    path.write_bytes(DATA)
    assert sources.find_picture("style", Picture(path=str(path))).sha256 == DIGEST
    with pytest.raises(InputError, match="no such file"):
        sources.find_picture("style", Picture(path=str(tmp_path / "none.jpg")))
    with pytest.raises(InputError, match=r"style=file needs style\.path=FILE"):
        sources.find_picture("style", Picture())


def test_packaged_pictures() -> None:
    for picture in (Picture(package="skimage:data/astronaut.png"), Picture(package="src:assets/styles/dots.jpg")):
        assert sources.find_picture("content", picture).path.is_file()
    with pytest.raises(InputError, match="not installed"):
        sources.find_picture("content", Picture(package="no_such_package_here:x.png"))


def test_every_address_is_pinned_to_a_commit_and_a_checksum() -> None:
    known = [OmegaConf.load(path) for kind in ("content", "style") for path in (CONF / kind).glob("*.yaml")]
    online = [picture for picture in known if "url" in picture]
    assert len(online) == 9 + 17
    for picture in online:
        assert len(picture.sha256) == 64
        assert "/8b6a7245bda2e27c19bc0333e02b346e25838783/" in picture.url


def test_the_images_of_the_study_are_known(mirror: Path) -> None:
    for row in json.loads((mirror / "manifest.json").read_text()):
        picture = OmegaConf.load(CONF / row["kind"] / f"{row['name']}.yaml")
        assert (picture.url, picture.sha256) == (row["url"], row["sha256"])
        found = sources.find_picture(row["kind"], Picture(**picture), mirror=str(mirror))
        assert found.path.name == row["file"]
