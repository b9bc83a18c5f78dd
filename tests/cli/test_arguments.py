"""Arguments as people type them become overrides that Hydra understands."""

from pathlib import Path

import pytest

from src.cli.arguments import prepared
from src.common.errors import InputError
from src.config.composition import compose
from src.config.schema import RunConfig


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files named like images, which is the current one's `photos`."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.jpg", "a, 1=[2].PNG", "notes.txt", "my dog (1).jpeg"):
        (folder / name).touch()
    (folder / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


def _prepared(*arguments: str) -> list[str]:
    return prepared(arguments, RunConfig)


def test_a_file_is_taken_as_it_is_named(photos: Path) -> None:
    assert _prepared("content=photos/b.jpg") == ["content=file", 'content.path="photos/b.jpg"']
    for name in ("a, 1=[2].PNG", "my dog (1).jpeg"):
        for written in (f"content=photos/{name}", f"content.path=photos/{name}"):
            config = compose(_prepared(written, "style=dots"))
            assert config.content.path == f"photos/{name}" and config.style.name == "dots"


def test_a_path_by_itself_chooses_the_file_group(photos: Path) -> None:
    assert compose(_prepared("content.path=photos/b.jpg")).content.name == "file"
    assert compose(_prepared("init.path=photos/b.jpg")).init.name == "file"
    assert _prepared("content.path=null", "style=dots") == ["content.path=null", "style=dots"]


def test_names_come_before_files(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    (photos / "cat").touch()
    assert _prepared("content=cat") == ["content=cat"]
    assert _prepared("content=./cat") == ["content=file", 'content.path="./cat"']


def test_a_folder_and_several_files_are_swept(photos: Path) -> None:
    swept = 'content.path="photos/a, 1=[2].PNG","photos/b.jpg","photos/my dog (1).jpeg"'
    assert _prepared("content=photos", "-m") == ["content=file", swept, "-m"]
    assert _prepared("-m", "content.path=glob(photos/*)") == ["content=file", swept, "-m"]
    assert _prepared("-m", "content=file", "content.path=glob(photos/*)") == ["content=file", swept, "-m"]
    assert _prepared("-m", "style.path=glob('photos/b*')") == ["style=file", 'style.path="photos/b.jpg"', "-m"]
    two = ["style=file", 'style.path="photos/b.jpg","photos/my dog (1).jpeg"']
    assert _prepared("-m", "style=photos/b.jpg,photos/my dog (1).jpeg") == [*two, "-m"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("content=empty", "matches no image file"),
        ("content.path=glob(photos/*.tif)", "content.path: photos/.* matches no image file"),
        ("content=cat,photos/b.jpg", "mixes files with names"),
        ("content=photos/b.jpg,none.jpg", "content=none.jpg: no such file"),
        ("layers=glob(z*)", "matches no name; the names: a, b, c"),
        ("seed=glob(*)", "seed is not a group"),
        ("loss.beta=range(3,1)", "sweeps nothing"),
    ],
)
def test_sweeps_of_nothing_are_errors(argument: str, message: str, photos: Path) -> None:
    (photos.parent / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        _prepared("-m", argument)


def test_glob_takes_images_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("STYLE_MIRROR", raising=False)
    assert _prepared("style=glob(*)") == ["style=brushwork,dots,swell,tesserae"]
    assert "leaves out images that have to be downloaded: candy, composition_vii" in capsys.readouterr().err
    assert _prepared("style=glob([d*,s*],exclude=[swell,f*])") == ["style=dots"]
    assert _prepared("content=glob(*)", "layers=glob([a,b])") == ["content=astronaut,cat,coffee,rocket", "layers=a,b"]
    with pytest.raises(InputError, match=r"style=glob\(u\*\) matches no image on this machine.* write style=udnie"):
        _prepared("style=glob(u*)")


def test_flags_may_stand_between_options() -> None:
    assert _prepared("content=cat", "-m", "style=dots,swell") == ["content=cat", "style=dots,swell", "-m"]
    assert _prepared("--cfg", "job", "steps=5") == ["steps=5", "--cfg", "job"]


def test_plus_signs_of_known_options_and_home_folders() -> None:
    assert _prepared("+steps=5", "++loss.beta=3") == ["steps=5", "loss.beta=3"]
    assert compose(_prepared("mirror=~/pictures")).mirror == "~/pictures"
    assert _prepared("hydra.sweep.dir=~/study")[-1] == f'hydra.sweep.dir="{Path.home()}/study"'


def test_file_names_that_are_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.jpg").touch()
    for argument in (f"content={tmp_path}", f"content={tmp_path}/caf\udce9.jpg", f"content.path=glob({tmp_path}/*)"):
        with pytest.raises(InputError, match="is not UTF-8; rename the file"):
            _prepared("-m", argument)


@pytest.mark.parametrize("given", ["loss.substitute={relu5_1:conv5_1}", "loss.substitute.relu5_1=conv5_1"])
def test_a_substitute_of_a_tap_is_given_as_other_options(given: str) -> None:
    assert compose(_prepared(given)).loss.substitute == {"relu5_1": "conv5_1"}
    assert compose(_prepared("loss=published", given)).loss.substitute == {"relu5_1": "conv5_1"}


def test_a_substitute_of_a_tap_can_be_removed() -> None:
    arguments = _prepared("loss=published", "~loss.substitute.relu5_1")
    assert compose(arguments).loss.substitute == {}
