"""Options of a clip: what identifies it, and what is refused in one line."""

import shutil
from pathlib import Path

import pytest

from src.cli.arguments import prepared
from src.common.errors import InputError
from src.config.composition import compose
from src.config.identity import identity
from src.config.schema import run_part, typed
from src.tracking.clip_record import ClipRecord
from src.video.config import VideoConfig, difference, job_folder
from tests.support import ROOT
from tests.video.clips import compose_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A file that stands for a clip; it is not opened here."""
    shutil.copy(ROOT / "src/assets/styles/dots.jpg", tmp_path / "clip.mp4")
    return tmp_path / "clip.mp4"


def test_a_clip_begins_with_the_run_of_the_same_options(clip: Path) -> None:
    overrides = ["style=dots", "edge=96", "loss.beta=3"]
    mine = run_part(compose_clip(f"content.path={clip}", *overrides))
    theirs = compose([f"content.path={clip}", "content=file", *overrides])
    assert identity(mine) == identity(theirs)


def test_the_folder_depends_on_what_changes_the_result(clip: Path) -> None:
    name = job_folder(compose_clip(f"content.path={clip}"))
    assert name.startswith("clip-brushwork-e-")
    assert job_folder(compose_clip(f"content.path={clip}", "logger=none", "trainer.threads=1")) == name
    assert job_folder(compose_clip(f"content.path={clip}", "captures=[0.5]")) == name, "frames keep the last alone"
    assert job_folder(compose_clip(f"content.path={clip}", "video.offsets=[1]")) != name
    assert job_folder(compose_clip(f"content.path={clip}", "loss.reference=100")) != name
    alone = job_folder(compose_clip(f"content.path={clip}", "video.linked=false"))
    assert job_folder(compose_clip(f"content.path={clip}", "video.linked=false", "loss.reference=100")) == alone


def test_a_clip_from_before_self_similarity_goes_on_without_it(clip: Path) -> None:
    from src.config.schema import plain

    config = compose_clip(f"content.path={clip}", "loss.self_similarity=0")
    recorded = plain(config)
    del recorded["loss"]["self_similarity"]
    ClipRecord(config=recorded).write(clip.parent)
    found = ClipRecord.read(clip.parent)
    assert found and difference(config, found.config) == ""
    assert difference(compose_clip(f"content.path={clip}"), found.config) == "loss"


def test_what_differs_from_a_recorded_clip_is_named(clip: Path) -> None:
    from src.config.schema import plain

    config = compose_clip(f"content.path={clip}")
    recorded = plain(compose_clip(f"content.path={clip}", "video.steps=7", "logger=none", "seed=3"))
    assert difference(config, recorded) == "seed, video"
    recorded["content"]["path"] = f"{clip.parent}/../{clip.parent.name}/{clip.name}"
    assert difference(config, recorded) == "seed, video", "the same file by another path"
    del recorded["video"], recorded["seed"]
    assert difference(config, recorded) == "", "an option that is newer than the record had its default"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["content.path=null"], "content.path=CLIP is missing"),
        (["resume=last"], "takes no resume="),
        (["reference.images=[a.png]"], "leave reference.images out"),
        (["format=jpeg"], "use png, tiff or webp"),
        (["color=content"], "use color=luminance or match"),
        (["video.steps=0"], "video.steps must be positive"),
        (["video.passes=0"], "video.passes must be positive"),
        (["video.first=-1"], "video.first must be zero or positive"),
        (["video.cut=2"], r"video.cut is a share, in \[0, 1\], not 2"),
        (["video.frames=0"], "video.frames must be positive, or null"),
        (["video.rate=0"], "video.rate must be at least 0.01"),
        (["video.offsets=[]"], r"begin with 1, as \[1,2,4\], not \[\]"),
        (["video.offsets=[2,4]"], "begin with 1"),
        (["video.offsets=[1,4,2]"], "begin with 1"),
        (["video.passes=2", "video.linked=false"], "video.passes needs video.linked=true"),
        (["video.flow=farneback"], "one of: dis, raft"),
        (["style=file", "style.path=missing.png"], "style.path: no such file"),
        (["edge=0"], "edge must be positive"),
        (["init=network", "init.path=typo"], "init.path=typo is no network"),
    ],
)
def test_bad_options_are_refused(overrides: list[str], message: str, clip: Path) -> None:
    with pytest.raises(InputError, match=message):
        job_folder(compose_clip(f"content.path={clip}", *overrides))


def test_a_folder_of_frames_is_one_clip(tmp_path: Path) -> None:
    assert prepared([f"content={tmp_path}"], VideoConfig) == ["content=file", f'content.path="{tmp_path}"']


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InputError, match=r"there is no option video.step; did you mean video.steps"):
        typed({"video": {"step": 3}}, VideoConfig)
