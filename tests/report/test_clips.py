"""Clips in a report: the sheet, the player, the table, and frames that are left out of the gallery."""

import io
import itertools
import json
from pathlib import Path

import pytest
from PIL import Image

from src.common.errors import InputError
from src.config.schema import plain
from src.report import __main__ as report
from src.report.clips import contact_sheet, gather_clips, players, table
from src.report.runs import gather, newest_sweep, warn
from src.report.sheet import CELL
from src.tracking.clip_record import ClipRecord, content_file, frame_name
from src.video.config import VideoConfig
from tests.report.runs import write_image, write_run


def write_clip_folder(folder: Path, frames: int = 8, style: str = "dots", **options: object) -> ClipRecord:
    """Write a clip folder as a finished clip leaves it."""
    config = plain(VideoConfig())
    config["content"] |= {"name": "file", "path": "my <b>film.mp4"}
    config["style"] |= {"name": style}
    config["video"] |= options
    record = ClipRecord(config=config, status="finished", width=64, height=48, rate="30000/1001", cuts=[5])
    record.times = [f"{at}/25" for at in range(frames)]
    for at in range(frames):
        write_image(content_file(folder, config, at), color="green")
        write_run(folder / "frames" / frame_name(at), (9,), content=f"film-{at}", style=style)
        write_image(folder / "frames" / frame_name(at) / "image.png", color="orange")
        record.frames[str(at)] = {"loss/style": 0.2, "loss/content": 0.4, "seconds": 2.0}
        if at not in (0, 5):
            record.frames[str(at)]["warping_error"] = 0.001
    (folder / "clip.mp4").write_bytes(b"video")
    record.write(folder)
    return record


def test_a_clip_has_a_player_a_sheet_and_a_row(tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "one")
    write_clip_folder(tmp_path / "two", linked=False)
    report.main([str(tmp_path)])
    out = tmp_path / "report"
    page = (out / "index.html").read_text()
    assert page.count("<video ") == 2 and 'src="../one/clip.mp4"' in page and "media-src" in page
    assert "my &lt;b&gt;film in the style of dots, each frame by itself" in page
    text = (out / "report.md").read_text()
    assert "![Clips](clips.jpg)" in text and "| 8 of 8 | 29.97 | 2 | none | 0.00100 |" in text
    with Image.open(out / "clips.jpg") as sheet:
        assert sheet.width > 6 * CELL and sheet.height > 3 * CELL / 2
        colours = [sheet.getpixel((sheet.width - CELL // 2, y)) for y in range(0, sheet.height, 8)]
    green, orange = (sum(abs(r - a) + abs(g - b) < 40 for r, g, _ in colours) for a, b in ((0, 128), (255, 165)))
    assert 1.5 * green < orange < 2.5 * green, "a row of the content and two of results"


def test_results_are_shown_below_their_own_clip_and_named_by_what_differs(tmp_path: Path) -> None:
    """Two parts of a film, one of them painted twice; the films have the same name and number of frames."""
    for name, begin, first in (("one", "0/1", 0), ("two", "40/25", 40), ("three", "40/25", 40)):
        record = write_clip_folder(tmp_path / name, first=first)
        record.begin, record.checksums = begin, {"content": "a"}
        record.config["loss"]["beta"] = 30.0 if name == "three" else 10.0
        record.write(tmp_path / name)
    clips = gather_clips([tmp_path], warn)
    assert [clip.label for clip in clips] == [
        ["dots", "loss.beta=10", "video first 0"],
        ["dots", "loss.beta=10", "video first 40"],
        ["dots", "loss.beta=30", "video first 40"],
    ]
    sheet = contact_sheet(clips, warn)
    assert sheet
    with Image.open(io.BytesIO(sheet)) as image:
        column = [image.getpixel((image.width - CELL // 2, y)) for y in range(0, image.height, 8)]
    kinds = ["green" if abs(r) + abs(g - 128) < 40 else "orange" for r, g, b in column if r + g + b < 600]
    assert [kind for kind, _ in itertools.groupby(kinds)] == ["green", "orange", "green", "orange"]


def test_the_gallery_has_the_first_frame_of_a_clip(tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "clip", frames=3)
    write_run(tmp_path / "picture")
    assert sorted(run.folder.name for run in gather([tmp_path])) == ["00000", "picture"]
    [frame] = gather([tmp_path / "clip/frames/00002"])
    assert frame.folder.name == "00002", "a frame that is named is shown"


def test_the_newest_sweep_may_be_of_clips(tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "multirun/video/clip", frames=2)
    assert newest_sweep(tmp_path / "multirun").name == "video"


def test_a_damaged_record_and_missing_frames_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip_folder(tmp_path / "good", frames=3)
    (tmp_path / "good/frames/00002/image.png").unlink()
    write_clip_folder(tmp_path / "bad", frames=1)
    (tmp_path / "bad/clip.json").write_text("{}")
    [clip] = gather_clips([tmp_path], warn)
    assert contact_sheet([clip], warn) is not None
    told = capsys.readouterr().err
    assert "bad/clip.json is not a record of a clip" in told and "00002/image.png is not shown" in told
    assert table([clip]).rows[0]["frames"] == "3 of 3"
    (tmp_path / "good/clip.mp4").unlink()
    assert players([clip], tmp_path) == []


def test_a_report_without_clips_has_no_such_section(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/one")
    report.main([str(tmp_path / "runs")])
    page = (tmp_path / "runs/report/index.html").read_text()
    assert "<video" not in page and 'id="clips"' not in page


def test_a_record_survives_writing(tmp_path: Path) -> None:
    record = write_clip_folder(tmp_path, frames=2)
    found = ClipRecord.read(tmp_path)
    assert found == record and found.count == 2 and found.mean("warping_error") == 0.001
    data = json.loads((tmp_path / "clip.json").read_text())
    for time in ("x", "1/0"):
        (tmp_path / "clip.json").write_text(json.dumps({**data, "times": [time]}))
        with pytest.raises(InputError, match="is not a record of a clip"):
            ClipRecord.read(tmp_path)
