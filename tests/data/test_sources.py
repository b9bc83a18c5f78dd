"""Known images: pinned, downloaded once, checked wherever they come from."""

import hashlib
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.common.errors import InputError
from src.common.files import cache_folder
from src.config.schema import CONF, Picture
from src.data import sources as catalogue

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
    found = catalogue.find_picture("content", _picture(served))
    assert found.sha256 == DIGEST and found.path.read_bytes() == DATA
    assert found.path.parent == cache_folder() / "content" and found.path.name.endswith("-a beach.jpg")
    (file_server[1] / "Content/a beach.jpg").unlink()
    assert catalogue.find_picture("content", _picture(served)) == found


def test_an_address_without_a_checksum_has_a_place_of_its_own(served: str, file_server: tuple[str, Path]) -> None:
    (file_server[1] / "Other").mkdir()
    (file_server[1] / "Other/a beach.jpg").write_bytes(b"another")
    for folder, data in (("Content", DATA), ("Other", b"another")):
        picture = Picture(url=f"{served}/{folder}/a%20beach.jpg")
        assert catalogue.find_picture("content", picture).path.read_bytes() == data


def test_the_mirror_comes_first(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "content/a beach.jpg").write_bytes(DATA)
    found = catalogue.find_picture("content", _picture("http://127.0.0.1:9"), mirror=str(tmp_path))
    assert found.path == tmp_path / "content/a beach.jpg"


def test_the_mirror_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLE_MIRROR", str(tmp_path / "missing"))
    with pytest.raises(InputError, match=r"is no folder .*STYLE_MIRROR"):
        catalogue.find_picture("content", _picture("http://127.0.0.1:9"))


def test_a_wrong_checksum_is_an_error_everywhere(served: str, tmp_path: Path) -> None:
    wrong = _picture(served, sha256="ab" * 32)
    with pytest.raises(InputError, match="nothing was kept"):
        catalogue.find_picture("content", wrong)
    assert not any(path.is_file() for path in cache_folder().rglob("*"))
    (tmp_path / "content").mkdir()
    (tmp_path / "content/a beach.jpg").write_bytes(b"another picture")
    with pytest.raises(InputError, match="another file, or a damaged one"):
        catalogue.find_picture("content", _picture(served), mirror=str(tmp_path))


@pytest.mark.parametrize("path", ["/Content/none.jpg", ""])
def test_no_answer_says_where_to_put_the_file(path: str, served: str) -> None:
    address = f"{served}{path}" if path else "http://127.0.0.1:9/x.jpg"
    with pytest.raises(InputError, match=f"cannot download {address} .*expected sha256 {DIGEST}.*mirror=DIR"):
        catalogue.find_picture("content", Picture(name="x", url=address, sha256=DIGEST))


def test_paths_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "my photo, 1=[2].jpg"
    path.write_bytes(DATA)
    assert catalogue.find_picture("style", Picture(path=str(path))).sha256 == DIGEST
    with pytest.raises(InputError, match="no such file"):
        catalogue.find_picture("style", Picture(path=str(tmp_path / "none.jpg")))
    with pytest.raises(InputError, match=r"style=file needs style\.path=FILE"):
        catalogue.find_picture("style", Picture())


def test_packaged_pictures() -> None:
    for picture in (Picture(package="skimage:data/astronaut.png"), Picture(package="src:assets/styles/dots.jpg")):
        assert catalogue.find_picture("content", picture).path.is_file()
    with pytest.raises(InputError, match="not installed"):
        catalogue.find_picture("content", Picture(package="no_such_package_here:x.png"))


def test_every_address_is_pinned_to_a_commit_and_a_checksum() -> None:
    known = [OmegaConf.load(path) for kind in ("content", "style") for path in (CONF / kind).glob("*.yaml")]
    online = [picture for picture in known if "url" in picture]
    assert len(online) == 9 + 17
    for picture in online:
        assert len(picture.sha256) == 64
        assert "/8b6a7245bda2e27c19bc0333e02b346e25838783/" in picture.url


def test_the_studys_images_are_the_catalogues(mirror: Path) -> None:
    for row in json.loads((mirror / "manifest.json").read_text()):
        picture = OmegaConf.load(CONF / row["kind"] / f"{row['name']}.yaml")
        assert (picture.url, picture.sha256) == (row["url"], row["sha256"])
        found = catalogue.find_picture(row["kind"], Picture(**picture), mirror=str(mirror))
        assert found.path.name == row["file"]
