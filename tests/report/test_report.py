"""Reports from records: tables to the last digit, a figure that shows something, the published record beside ours."""

import csv
import hashlib
import html
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.common import tables
from src.config.schema import RunConfig, plain
from src.report import __main__ as report
from src.report import comparison, figures
from src.report.sheet import CELL, GAP, LINE, MARGIN
from src.tracking.record import Capture, RunRecord

REPOSITORY = Path(__file__).resolve().parents[2]
AWKWARD = "my | <b>picture</b> $x"
SETTINGS: dict[str, Any] = {
    "layers": "a", "style_layers": ["relu1_1", "relu2_1"], "content_layer": "relu4_1", "loss": "normalized",
    "alpha": 1.0, "beta": 20.0, "tv": 0.0, "backbone": "vgg19", "weights": "random", "pool": "max", "init": "content",
    "optimizer": "adam", "lr": 0.02, "edge": 64, "fit": "keep", "steps": 9, "seed": 0, "precision": "32",
}  # fmt: skip
MEASURED: dict[str, Any] = {
    "initial_loss": 1 / 3, "loss_decay": 7.1, "ssim": 0.1 + 0.2, "ssim_published": 2 / 3, "it_per_s": 1e-17,
    "seconds": 12.345678901234567, "peak_mib": 984.796875,
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "content": "beach", "style": "udnie", "layers": "e", "content_layer": "conv5_1", "loss": "published",
    "beta": 0.01, "lr": 0.001, "edge": 356, "fit": "squash", "steps": 6000,
}  # fmt: skip


def picture(path: Path, size: tuple[int, int] = (64, 48), color: str = "orange") -> Path:
    """Make a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunRecord]:
    """Write a run into `tmp_path/sweep/NAME`, as a run does, and return its record."""
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STYLE_MIRROR", raising=False)

    def make(name: str, captures: tuple[int, ...] = (3, 6, 9), status: str = "finished", **more: Any) -> RunRecord:
        folder = tmp_path / "sweep" / name
        values: dict[str, Any] = {"content": AWKWARD, "style": "dots", **SETTINGS, **(MEASURED if captures else {})}
        values |= {"width": 64, "height": 48, "step": max(captures, default=0), **more}
        if "config" not in values:
            config = plain(RunConfig())
            for kind, color in (("content", "green"), ("style", "purple")):
                config[kind]["path"] = str(picture(tmp_path / f"{kind} of ours.png", color=color))
            values["config"] = config
        record = RunRecord(status=status, **values)
        for step in captures:
            file = f"captures/step_{step:06d}.png"
            picture(folder / file)
            record.add_capture(Capture(step, 1 / (step + 1), 0.1 * step, None, file, ssim=1 / (step + 3)))
        record.write(folder)
        return record

    return make


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read a CSV file."""
    return list(csv.DictReader(io.StringIO(path.read_text())))


def table_row(text: str, folder: str) -> dict[str, str]:
    """Return the row of a folder in the first table of a report."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    (line,) = [line for line in lines if f"](../{folder})" in line]
    split = [[each.strip() for each in x.replace(r"\|", "\0").strip("|").split("|")] for x in (lines[0], line)]
    return dict(zip(*split, strict=True))


def pixels(path: Path) -> np.ndarray:
    """Read a picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def share(image: np.ndarray, color: tuple[int, int, int]) -> float:
    """Return the share of pixels of a colour."""
    return float((image == color).all(-1).mean())


def test_csv_holds_the_record_to_the_last_digit(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Every number that is read back is the record's; captures a run has not are empty."""
    made = {"one": make("one"), "two": make("two", captures=(9,), layers="b")}
    made["zero"] = make("zero", captures=(), layers="c")
    assert report.main([str(tmp_path / "sweep")]) == 0
    rows = rows_of(tmp_path / "sweep" / "report" / "runs.csv")
    assert [Path(row["folder"]).name for row in rows] == list(made)
    text = (tmp_path / "sweep" / "report" / "runs.md").read_text()
    exact = {row["folder"]: line for row, line in zip(rows, text.splitlines()[2:], strict=True)}
    for row, record in zip(rows, made.values(), strict=True):
        assert (row["content"], row["layers"], row["style_layers"]) == (AWKWARD, record.layers, "relu1_1 relu2_1")
        for name in MEASURED:
            expected = getattr(record, name)
            assert row[name] == ("" if expected is None else repr(expected)), name
        losses = [float(row[f"capture_{at}_loss_total"]) for at in (1, 2, 3) if row[f"capture_{at}_loss_total"]]
        assert losses == [each.loss_total for each in record.captures]
        for name in MEASURED:
            assert f" {row[name]} |" in exact[row["folder"]], "the Markdown has all digits too"
        steps = [int(row[f"capture_{at}_step"]) for at in (1, 2, 3) if row[f"capture_{at}_step"]]
        assert steps == [each.step for each in record.captures]


def test_markdown_lists_every_run_rounded_and_escaped(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Finished and unfinished runs have a row each; an error of several lines with Markdown in it stays one line."""
    make("with space", beta=100.0)
    make("stopped", captures=(3,), status="interrupted", error="signal 2")
    make("broken", captures=(), status="failed", error="a | b\n<script>")
    make("working", captures=(3, 6), status="running")
    assert report.main([str(tmp_path / "sweep")]) == 0
    text = (tmp_path / "sweep" / "report" / "report.md").read_text()
    row = table_row(text, "with%20space")
    assert row["content"] == "my \0 &lt;b&gt;picture&lt;/b&gt; \\$x"
    assert [row[name] for name in ("status", "β", "steps taken", "initial loss")] == ["finished", "100", "9", "0.3333"]
    assert [row[f"loss, {place} %"] for place in (33, 67, 100)] == ["0.2500", "0.1429", "0.1000"]
    assert [row[name] for name in ("SSIM", "SSIM (published convention)")] == ["0.3000", "0.6667"]
    assert table_row(text, "stopped")["loss, 67 %"] == table_row(text, "broken")["initial loss"] == "–"
    assert "- [broken](../broken): failed: a \\| b &lt;script&gt;\n" in text
    assert "- [stopped](../stopped): interrupted: signal 2\n" in text
    assert "- [working](../working): running" in text
    assert "4 runs: 1 failed, 1 finished, 1 interrupted, 1 running." in text
    assert "published record" not in text
    assert not (tmp_path / "sweep" / "report" / "published.csv").exists()


def test_captures_at_other_places_say_where(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """A run that stopped early shifts no number under a head that is not its own."""
    make("whole")
    make("early", captures=(3, 4), stopped="loss reached")
    assert report.main([str(tmp_path / "sweep")]) == 0
    row = table_row((tmp_path / "sweep" / "report" / "report.md").read_text(), "early")
    assert [row[name] for name in ("loss, 33 %", "loss, capture 2")] == ["0.2500", "0.2000 (44 %)"]


def test_figure_shows_pictures_and_text(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Twelve rows to a figure; the colours of content, style and captures are there, on white, and dark text."""
    for number in range(13):
        make(f"run {number:02}", layers="ab"[number % 2])
    make("without captures", captures=(), status="failed", error="no")
    assert report.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "an out")]) == 0
    first, second = (pixels(tmp_path / "an out" / name) for name in ("figure2.png", "figure2-2.png"))
    assert not (tmp_path / "an out" / "figure2-3.png").exists()
    assert first.shape[1] == second.shape[1] > 5 * CELL
    assert first.shape[0] > 12 * CELL * 48 / 64 > second.shape[0] > CELL * 48 / 64
    cells = second.shape[0] * second.shape[1] / (CELL * CELL * 48 / 64)
    for color, count in (((255, 165, 0), 3), ((0, 128, 0), 1), ((128, 0, 128), 1)):
        assert share(second, color) * cells == pytest.approx(count, rel=0.02)
    assert 0.001 < (second.max(-1) < 100).mean() < 0.05  # the text
    assert (second[[0, -1]] == 255).all() and (second[:, [0, -1]] == 255).all()  # nothing is cut off


def test_grid_has_contents_down_and_styles_across(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    colors = {("one", "dots"): (255, 0, 0), ("one", "swell"): (0, 0, 255), ("two", "dots"): (0, 128, 128)}
    for (content, style), color in colors.items():
        record = make(f"{content} {style}", content=content, style=style)
        Image.new("RGB", (64, 48), color).save(tmp_path / "sweep" / f"{content} {style}" / record.captures[-1].file)
    assert report.main([str(tmp_path / "sweep")]) == 0
    folder = tmp_path / "sweep" / "report"
    assert "](grid.png)" in (folder / "report.md").read_text()
    grid = pixels(folder / "grid.png")
    cells = grid.shape[0] * grid.shape[1] / (CELL * CELL * 48 / 64)
    for color, count in (((0, 128, 0), 2), ((128, 0, 128), 2), *((color, 1) for color in colors.values())):
        assert share(grid, color) * cells == pytest.approx(count, rel=0.02)
    across = [MARGIN + at * (CELL + GAP) + CELL // 2 for at in range(3)]
    down = [MARGIN + CELL * 3 // 8 + at * (CELL * 3 // 4 + 2 * LINE) for at in range(3)]
    white, content, style = (255, 255, 255), (0, 128, 0), (128, 0, 128)
    expected = [[white, style, style], [content, *list(colors.values())[:2]], [content, (0, 128, 128), white]]
    assert [[tuple(grid[y, x]) for x in across] for y in down] == expected
    assert (grid[-1] == 255).all() and (grid[:, -1] == 255).all()
    make("two swell", content="two", style="swell", seed=1)
    assert report.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "unlike")]) == 0
    assert (pixels(tmp_path / "unlike" / "grid.png") == grid).all(), "what differs in more than its pair is left out"
    assert "styles across; runs of seed 0." in (tmp_path / "unlike" / "report.md").read_text()
    make("two swell", content="two", style="swell", status="interrupted")
    assert report.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "whole")]) == 0
    whole = pixels(tmp_path / "whole" / "grid.png")
    assert (whole[down[2] + CELL * 3 // 8 :, across[2] - 60 : across[2] + 60] < 100).any(), "interrupted, it says"
    assert (grid[down[2] + CELL * 3 // 8 :, across[2] - 60 : across[2] + 60] == 255).all()
    make("one dots again", content="one", style="dots")
    assert report.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "twice")]) == 0
    assert not (tmp_path / "twice" / "grid.png").exists(), "which of the two would it show?"


def test_labels_say_what_varies(make: Callable[..., RunRecord]) -> None:
    """What is the same in all runs is not said."""
    one, two = make("one", layers="a", beta=5.0), make("two", layers="b", beta=5.5, status="interrupted")
    names = figures.varying([one, two])
    assert figures.label(one, names) == ["layers a", "β = 5"]
    assert figures.label(two, names) == ["layers b", "β = 5.5", "(interrupted)"]
    assert figures.label(one, figures.varying([one])) == []


@pytest.mark.parametrize("why", ["moved", "changed", "not an image", "not in the cache", "no such option"])
def test_a_picture_that_cannot_be_had_is_a_card(
    why: str, make: Callable[..., RunRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is written, with one warning for all rows; nothing is downloaded."""
    file = picture(tmp_path / "content.png", color="green")
    config, more = plain(RunConfig()), {}
    config["style"]["path"] = str(picture(tmp_path / "style.png", color="purple"))
    config["content"]["path"] = str(file)
    if why == "moved":
        file.unlink()
    elif why == "changed":
        more["content_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        picture(file, color="red")
    elif why == "not an image":
        file.write_text("no picture")
    elif why == "not in the cache":
        config["content"] |= {"path": None, "url": "http://127.0.0.1:9/somewhere/green%20one.png"}
    else:
        config["content"]["unheard_of"] = 1
    for name in ("one", "two"):
        make(name, config=config, **more)
    assert report.main([str(tmp_path / "sweep")]) == 0
    warnings = capsys.readouterr().err.splitlines()
    contents = [line for line in warnings if "the content image" in line]
    assert len(contents) == 1 and "is not shown" in contents[0]
    image = pixels(tmp_path / "sweep" / "report" / "figure2.png")
    assert share(image, (0xEC, 0xEC, 0xEC)) > 0.05
    assert share(image, (0, 128, 0)) == share(image, (255, 0, 0)) == 0


def test_pictures_come_from_the_cache_and_the_mirror(
    make: Callable[..., RunRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A known picture is found where a run has put it, also when the mirror of that time is gone."""
    address = "http://127.0.0.1:9/somewhere/green%20one.png"
    cached = f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-green one.png"
    picture(tmp_path / "cache" / "content" / cached, color="green")
    picture(tmp_path / "mirror" / "style" / "purple.png", color="purple")
    config = plain(RunConfig())
    config["content"]["url"] = address
    config["style"]["url"] = "http://127.0.0.1:9/purple.png"
    config["mirror"] = str(tmp_path / "mirror")
    make("one", config=config)
    two = {**config, "style": {**config["style"], "url": None, "path": str(picture(tmp_path / "red.png", color="red"))}}
    make("two", config={**two, "mirror": str(tmp_path / "gone")}, layers="b")
    assert report.main([str(tmp_path / "sweep")]) == 0
    assert capsys.readouterr().err == ""
    image = pixels(tmp_path / "sweep" / "report" / "figure2.png")
    green, purple, red = (share(image, color) for color in ((0, 128, 0), (128, 0, 128), (255, 0, 0)))
    assert purple == red == pytest.approx(green / 2, rel=0.02) and green > 0.1


def test_the_published_record_beside_ours(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Losses by their iteration, each SSIM under its own name; what is no pair of the record is not compared."""
    ours = make("pair", captures=(2000, 4000, 6000), **PUBLISHED)
    make("short", captures=(1000,), **(PUBLISHED | {"weights": "trained", "steps": 1000}))
    make("no pair", **(PUBLISHED | {"content": "astronaut"}))
    make("other loss", **(PUBLISHED | {"loss": "normalized"}))
    make("not begun", captures=(), status="failed", error="no", **PUBLISHED)
    assert report.main([str(tmp_path / "sweep")]) == 0
    whole = rows_of(tmp_path / "sweep" / "report" / "published.csv")
    rows = [row for row in whole if row["folder"]]
    assert len({(row["content"], row["style"]) for row in whole}) == 126, "those without a run of ours are there too"
    with comparison.PUBLISHED.open(newline="") as file:
        (theirs,) = [x for x in csv.DictReader(file) if (x["content"], x["style"]) == ("beach", "udnie")]
    assert [Path(row["folder"]).name for row in rows] == ["pair", "short"], "random before trained"
    pair, short = rows
    for name, value in theirs.items():
        if name not in ("content", "style"):
            assert float(pair[f"published_{name}"]) == float(short[f"published_{name}"]) == float(value)
    assert float(pair["our_loss_at_0"]) == ours.initial_loss
    assert float(pair["our_loss_at_2000"]) == ours.captures[0].loss_total
    assert float(pair["our_loss_at_4000"]) == ours.captures[1].loss_total
    assert (float(pair["our_ssim_published"]), float(pair["our_ssim"])) == (ours.ssim_published, ours.ssim)
    assert float(pair["relative_difference_ssim"]) == (2 / 3 - 0.72) / 0.72
    assert short["our_loss_at_2000"] == short["relative_difference_loss_at_2000"] == ""
    assert pair["not_as_published"].startswith("weights random; space split")
    assert short["not_as_published"].startswith("steps 1000; space split")
    text = (tmp_path / "sweep" / "report" / "report.md").read_text()
    assert "**Random weights, not ImageNet's, in 1 of 2 runs: not comparable.**" in text
    assert "| 0.7200 | 0.6667 (-7.4 %) |" in text
    assert "| SSIM | SSIM (published convention) | 2 | -7.4 % | -7.4 % | -7.4 % |" in text
    assert "1 of its 126 rows have a run of ours" in text
    page = (tmp_path / "sweep" / "report" / "index.html").read_text()
    for sentence in comparison.CORRECTIONS:
        assert f"- {sentence}\n" in text + "\n" and f"<li>{html.escape(sentence)}</li>" in page


def test_corrections_agree_with_the_published_record() -> None:
    """The numbers in the sentences are those of the file."""
    with comparison.PUBLISHED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    speeds = sorted(float(row["iterations_per_second"]) for row in rows)
    similar = sorted(float(row["ssim"]) for row in rows)
    said = " ".join(comparison.CORRECTIONS)
    assert f"{len(rows)} runs of {len({row['content'] for row in rows})} contents" in said
    assert f"from {similar[0]:.2f} to {similar[-1]:.2f};" in said
    assert f"made {speeds[3]} to {speeds[-1]} it/s" in said
    assert f"Three ran on a CPU, at {speeds[0]:.2f} to {speeds[2]:.2f}" in said


def test_a_damaged_record_is_left_out(
    make: Callable[..., RunRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says so; the others are reported. Alone it is no report."""
    make("good")
    damaged = tmp_path / "sweep" / "damaged" / "record.json"
    damaged.parent.mkdir()
    damaged.write_text('{"schema": 1, "status": "fini')
    assert report.main([str(tmp_path / "sweep")]) == 0
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(damaged) in error
    assert len(rows_of(tmp_path / "sweep" / "report" / "runs.csv")) == 1
    assert report.main([str(damaged.parent)]) == 2


def test_a_folder_without_records_is_one_line_and_status_2(
    make: Callable[..., RunRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, empty, or nothing made yet; nothing is written."""
    monkeypatch.chdir(tmp_path)
    make("good")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["sweep", "missing"], "error: no such folder: missing\n"),
        (["empty", "sweep"], "error: empty holds no run record (record.json) that can be read\n"),
        ([], "error: no run record below multirun/; make a run, or give a folder\n"),
    ):
        assert report.main(arguments) == 2
        assert capsys.readouterr() == ("", message)
    assert not list(tmp_path.rglob("report*"))


def test_without_a_folder_the_newest_sweep_is_reported(
    make: Callable[..., RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest is the one whose record changed last, whatever its name."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("2026-01-02/10-00-00", "2026-01-01/12-00-00")):
        for run in ("one", "two"):
            make(f"../multirun/{name}/{run}")
            changed = 1e9 - 1000 * age - (500 if run == "two" else 0)
            os.utime(tmp_path / "multirun" / name / run / "record.json", (changed, changed))
    newest = Path("multirun", "2026-01-01", "12-00-00")
    os.utime(newest / "two" / "record.json")
    assert report.main([]) == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    texts, drawn = ("index.html", "runs.csv", "runs.md", "report.md"), ("loss.png", "ssim.png", "throughput.png")
    assert printed == [newest / "report" / name for name in (*texts, *drawn, "figure2.png")]
    assert all(path.is_file() for path in printed)
    assert len(rows_of(printed[1])) == 2


def test_a_run_given_twice_is_listed_once(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """A sweep and one of its runs: two folders, no doublet."""
    make("one")
    make("two")
    assert report.main([str(tmp_path / "sweep" / "two"), str(tmp_path / "sweep")]) == 0
    rows = rows_of(tmp_path / "sweep" / "two" / "report" / "runs.csv")
    assert sorted(Path(row["folder"]).name for row in rows) == ["one", "two"]


def test_help_loads_nothing_heavy() -> None:
    """What takes long to import waits until there is something to draw."""
    code = "import sys, src.report; print([x for x in ('torch', 'matplotlib', 'hydra', 'PIL') if x in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (0.08131, "0.0813"), (5.4, "5.40"), (99.96, "100"), (1234.6, "1235"),
     (12345.6, "1.23×10⁴"), (72931720.0, "7.29×10⁷"), (4.2e-7, "4.20×10⁻⁷")],
)  # fmt: skip
def test_numbers_for_reading(value: float | None, text: str) -> None:
    """Three digits; powers of ten where they help."""
    assert tables.number(value) == text
