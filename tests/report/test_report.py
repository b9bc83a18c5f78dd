"""Reports from records: tables to the last digit, figures, the comparison with the published record."""

import csv
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from src.common import tables
from src.config.schema import Picture, RunConfig, known_picture, plain
from src.report import __main__ as report
from src.report import comparison, figures, thumbnails
from src.report.runs import Run, alike, gather, name_runs, varying
from src.report.sheet import CELL, GAP, LINE, MARGIN
from src.report.summary import count, findings, headline, means
from src.report.thumbnails import Thumbnails
from src.tracking.record import Capture, RunRecord
from tests.report.runs import MEASURED, configuration, write_image, write_run, write_sweep
from tests.support import ROOT

AWKWARD = "my | <b>picture</b> $x"
PUBLISHED = {
    "layers.name": "e", "layers.content": "conv5_1", "loss.name": "published", "loss.beta": 0.01, "loss.content_tap":
    "conv5_1", "loss.substitute": {"relu5_1": "conv5_1"}, "loss.jump": 0.0, "backbone.name": "vgg19",
    "backbone.pool": "max", "init.name": "content", "optimizer.lr": 0.001, "optimizer.betas": [0.9, 0.999],
    "optimizer.rise": 0, "optimizer.decay": 0.0, "canvas.space": "normalized", "canvas.clamp": False, "edge": 356,
    "fit": "squash", "steps": 6000, "captures": [0.333333, 0.666667, 1.0], "loss.palette": 0.0,
    "schedule.name": "single", "schedule.sizes": 1, "schedule.last": None, "loss.block_weights": None,
    "loss.self_similarity": 0.0, "loss.tv": 0.0, "loss.tv_form": "squares",
}  # fmt: skip


@pytest.fixture
def with_charts() -> None:
    """Draw the charts of a report too."""


@pytest.fixture(autouse=True)
def _without_charts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the charts, which take most of a report's time, where a test is about other parts of it."""
    if "with_charts" not in request.fixturenames:
        for name in ("losses", "heat_map", "trade_off", "throughput"):
            monkeypatch.setattr(f"src.report.charts.{name}", lambda *_: None)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunRecord]:
    """Write a run into `tmp_path/sweep/NAME` and return its record."""
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STYLE_MIRROR", raising=False)
    return lambda name, *given, **more: write_run(tmp_path / "sweep" / name, *given, **more)


def runs_below(folder: Path) -> dict[str, Run]:
    """Return the runs below a folder by the names of theirs."""
    return {run.folder.name: run for run in gather([folder])}


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read a CSV file."""
    return list(csv.DictReader(io.StringIO(path.read_text())))


def table_row(text: str, folder: str) -> dict[str, str]:
    """Return the row of a folder in the table of runs of a report."""
    lines = [line for line in text.partition("## Runs")[2].splitlines() if line.startswith("|")]
    (line,) = [line for line in lines if f"](../{folder})" in line]
    split = [[each.strip() for each in x.replace(r"\|", "\0").strip("|").split("|")] for x in (lines[0], line)]
    return dict(zip(*split, strict=True))


def pixels(path: Path) -> np.ndarray:
    """Read a picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def share(image: np.ndarray, color: tuple[int, int, int], tolerance: int = 8) -> float:
    """Return the share of pixels that have a colour, but for what JPEG changes."""
    return float((np.abs(image.astype(int) - color) <= tolerance).all(-1).mean())


def test_csv_holds_the_record_to_the_last_digit(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Numbers read back are the record's; every option has a column; captures that a run lacks are empty."""
    options = {"layers.name": "a", "layers.weights": [0.1 + 0.2], "loss.beta": 1 / 3}
    made = {"one": make("one", content=AWKWARD, options=options)}
    made["two"] = make("two", captures=(9,), content=AWKWARD, options={"layers.name": "b"})
    made["zero"] = make("zero", captures=(), content=AWKWARD, options={"layers.name": "e"})
    report.main([str(tmp_path / "sweep")])
    rows = rows_of(tmp_path / "sweep" / "report" / "runs.csv")
    assert [Path(row["folder"]).name for row in rows] == list(made)
    for row, record in zip(rows, made.values(), strict=True):
        assert row["content"] == AWKWARD
        assert row["layers.name"] == record.options.layers.name
        assert row["layers.style"] == " ".join(record.options.layers.style)
        assert row["loss.alpha"] == "1.0" and row["loss.beta"] == repr(record.options.loss.beta)
        for name in MEASURED:
            expected = getattr(record, name)
            assert row[name] == ("" if expected is None else repr(expected)), name
        losses = [float(row[f"capture_{at}_loss/total"]) for at in (1, 2, 3) if row[f"capture_{at}_loss/total"]]
        assert losses == [each.losses["total"] for each in record.captures]
        steps = [int(row[f"capture_{at}_step"]) for at in (1, 2, 3) if row[f"capture_{at}_step"]]
        assert steps == [each.step for each in record.captures]
    assert rows[0]["layers.weights"] == repr(0.1 + 0.2)


def test_markdown_lists_every_run_rounded_and_escaped(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Finished and unfinished runs have a row each; an error of several lines with Markdown in it stays one line."""
    make("with space", content=AWKWARD, options={"loss.beta": 100.0})
    make("stopped", captures=(3,), status="interrupted", error="signal 2")
    make("broken", captures=(), status="failed", error="a | b\n<script>")
    make("working", captures=(3, 6), status="running")
    report.main([str(tmp_path / "sweep")])
    text = (tmp_path / "sweep" / "report" / "report.md").read_text()
    row = table_row(text, "with%20space")
    assert row["content"] == "my \0 &lt;b&gt;picture&lt;/b&gt; \\$x"
    assert [row[name] for name in ("status", "loss.beta", "steps taken", "initial loss")] == [
        *("finished", "100", "9", "0.3333")
    ]
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
    """No loss of a run that stopped early stands under another run's place."""
    make("whole")
    make("early", captures=(3, 4), stopped="loss reached")
    report.main([str(tmp_path / "sweep")])
    row = table_row((tmp_path / "sweep" / "report" / "report.md").read_text(), "early")
    assert [row[name] for name in ("loss, 33 %", "loss, capture 2")] == ["0.2500", "0.2000 (44 %)"]


def test_figure_2_shows_pictures_and_text(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Twelve rows to a sheet, with the colours of content, style and captures on white, and dark text."""
    for number in range(13):
        make(f"run {number:02}", options={"layers.name": "ab"[number % 2]})
    make("without captures", captures=(), status="failed", error="no")
    report.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "an out")])
    first, second = (pixels(tmp_path / "an out" / name) for name in ("figure2.jpg", "figure2-2.jpg"))
    assert not (tmp_path / "an out" / "figure2-3.jpg").exists()
    assert first.shape[1] == second.shape[1] > 5 * CELL
    assert first.shape[0] > 12 * CELL * 48 / 64 > second.shape[0] > CELL * 48 / 64
    cells = second.shape[0] * second.shape[1] / (CELL * CELL * 48 / 64)
    for color, cells_of_color in (((255, 165, 0), 3), ((0, 128, 0), 1), ((128, 0, 128), 1)):
        assert share(second, color) * cells == pytest.approx(cells_of_color, rel=0.05)
    assert 0.001 < (second.max(-1) < 100).mean() < 0.05  # the text
    assert (second[[0, -1]] > 250).all() and (second[:, [0, -1]] > 250).all()  # nothing is cut off


def test_the_sheets_of_24_small_runs_stay_small(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    for number in range(24):
        record = make(f"run {number:02}", options={"seed": number})
        for capture in record.captures:
            rough = Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC)
            rough.save(tmp_path / "sweep" / f"run {number:02}" / capture.file)
    report.main([str(tmp_path / "sweep")])
    written = list((tmp_path / "sweep" / "report").glob("*.*"))
    assert max(path.stat().st_size for path in written) < 1.5e6


def test_grid_has_contents_down_and_styles_across(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    colors = {("one", "dots"): (255, 0, 0), ("one", "swell"): (0, 0, 255), ("two", "dots"): (0, 128, 128)}
    for (content, style), color in colors.items():
        make(f"{content} {style}", content=content, style=style, color=color)
    report.main([str(tmp_path / "sweep")])
    folder = tmp_path / "sweep" / "report"
    assert "](grid.jpg)" in (folder / "report.md").read_text()
    grid = pixels(folder / "grid.jpg").astype(int)
    across = [MARGIN + at * (CELL + GAP) + CELL // 2 for at in range(3)]
    rows = [CELL * 3 // 4 + 2 * LINE, CELL * 3 // 4 + 2 * LINE]
    down = [MARGIN + CELL * 3 // 8 + sum(rows[:at]) for at in range(3)]
    white, content, style = (255, 255, 255), (0, 128, 0), (128, 0, 128)
    expected = [[white, style, style], [content, *list(colors.values())[:2]], [content, (0, 128, 128), white]]
    for y, wanted in zip(down, expected, strict=True):
        assert [tuple(grid[y, x]) for x in across] == [pytest.approx(color, abs=8) for color in wanted]
    assert (grid[-1] > 250).all() and (grid[:, -1] > 250).all()
    make("two swell", content="two", style="swell", options={"loss.palette": 0.5})
    report.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "unlike")])
    assert (pixels(tmp_path / "unlike" / "grid.jpg") == grid).all(), (
        "a run that differs in more than its pair is left out"
    )
    text = (tmp_path / "unlike" / "report.md").read_text()
    assert "styles across; the 3 of 4 runs with loss palette 0.3." in text
    make("two swell", content="two", style="swell", status="interrupted")
    report.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "whole")])
    whole = pixels(tmp_path / "whole" / "grid.jpg")
    assert (whole[down[2] + CELL * 3 // 8 :, across[2] - 60 : across[2] + 60] < 100).any(), "(interrupted)"
    assert (grid[down[2] + CELL * 3 // 8 :, across[2] - 60 : across[2] + 60] > 240).all()
    make("one dots again", content="one", style="dots")
    report.main([str(tmp_path / "sweep"), "--out", str(tmp_path / "twice")])
    assert not (tmp_path / "twice" / "grid.jpg").exists(), "two runs for one cell"


def test_the_grid_of_a_large_sweep_says_what_it_leaves_out(tmp_path: Path) -> None:
    """A JPEG is at most 65,500 px high: hundreds of contents would not fit."""
    captures = [Capture(1, {}, "image.png")]
    runs = name_runs(
        [
            (tmp_path / f"{number}{style}", RunRecord(status="finished", config=config, captures=captures))
            for number in range(figures.GRID + 6)
            for style in ("dots", "swell")
            for config in [plain(RunConfig(content=Picture(name=f"c{number:03}"), style=Picture(name=style)))]
        ]
    )
    made = figures.grid(runs, Thumbnails(tmp_path, [], print))
    assert made and made[1] == f"Contents down, styles across. Of 30 contents the first {figures.GRID}."
    with Image.open(io.BytesIO(made[0])) as image:
        assert image.height < (figures.GRID + 2) * (CELL + 2 * LINE)


def test_figures_of_an_earlier_report_are_deleted(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Those that the new one does not have; files of others stay."""
    for content, style in itertools.product(("one", "two"), ("dots", "swell")):
        make(f"{content} {style}", content=content, style=style)
    report.main([str(tmp_path / "sweep")])
    folder = tmp_path / "sweep" / "report"
    assert (folder / "grid.jpg").exists()
    write_image(folder / "sweep.jpg")
    make("one dots again", content="one", style="dots")  # two runs for one cell
    report.main([str(tmp_path / "sweep")])
    assert not (folder / "grid.jpg").exists() and (folder / "figure2.jpg").exists() and (folder / "sweep.jpg").exists()


def test_the_sweep_figure_has_one_option_down_and_one_across(tmp_path: Path) -> None:
    """Every run has its own cell; those that differ in a third option are left out, and the caption says so."""
    colors = {("a", 3.0): (255, 0, 0), ("a", 30.0): (0, 0, 255), ("b", 3.0): (0, 128, 128), ("b", 30.0): (128, 128, 0)}
    for (layers, beta), color in colors.items():
        options = {"layers.name": layers, "loss.beta": beta}
        write_run(tmp_path / "sweep" / f"{layers}{beta}", options=options, color=color)
    options = {"layers.name": "a", "loss.beta": 3.0, "schedule.sizes": 3}
    write_run(tmp_path / "sweep" / "other", options=options, color=(9, 9, 9))
    report.main([str(tmp_path / "sweep")])
    image = pixels(tmp_path / "sweep" / "report" / "sweep.jpg").astype(int)
    places = {}
    for key, color in colors.items():
        found = np.argwhere((np.abs(image - color) <= 8).all(-1))
        assert len(found) == pytest.approx(CELL * CELL * 48 / 64, rel=0.05)
        places[key] = tuple(found.mean(0))
    assert places["a", 3.0][0] == pytest.approx(places["a", 30.0][0], abs=2) and places["a", 3.0] < places["b", 3.0]
    assert places["a", 3.0][1] < places["a", 30.0][1] == pytest.approx(places["b", 30.0][1], abs=2)
    assert share(image, (9, 9, 9)) < 0.01
    text = (tmp_path / "sweep" / "report" / "report.md").read_text()
    assert "Layers against loss.beta; the 4 of 5 runs with schedule sizes 4." in text


def test_labels_say_what_varies(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """What is the same in all runs is not said, nor what follows from a name that is said, as taps from a layer set."""
    make("one", options={"layers.name": "a", "loss.beta": 5.0})
    make("two", options={"layers.name": "b", "loss.beta": 5.5}, status="interrupted")
    runs = runs_below(tmp_path / "sweep")
    names = varying(runs.values())
    assert runs["one"].label(names) == ["layers a", "loss.beta=5"]
    assert runs["two"].label(names) == ["layers b", "loss.beta=5.5", "(interrupted)"]
    assert varying([runs["one"]]) == []


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({"loss.palette": 0.5}, "loss palette 0.5"),
        ({"schedule.sizes": 3}, "schedule sizes 3"),
        ({"layers.weights": [0.2, 0.8]}, "weights 0.2 0.8"),
        ({"layers.style": ["relu1_1"]}, "layers style relu1_1"),
        ({"optimizer.rise": 4}, "optimizer rise 4"),
        ({"optimizer.betas": [0.9, 0.999]}, "optimizer betas 0.9 0.999"),
        ({"optimizer.lr": 0.0200001}, "lr 0.0200001"),
        ({"canvas.clamp": False}, "canvas clamp False"),
        ({"stop_at_loss": 0.5}, "stop at loss 0.5"),
        ({"loss.of_another_version": 7}, "loss of another version 7"),
    ],
)
def test_every_option_that_differs_is_told_and_keeps_runs_apart(
    options: dict[str, Any], label: str, make: Callable[..., RunRecord], tmp_path: Path
) -> None:
    make("one")
    make("two", options=options)
    runs = runs_below(tmp_path / "sweep")
    names = varying(runs.values())
    assert runs["two"].label(names) == [label] and len(names) == 1
    assert len(alike(runs.values(), ())) == 1 and len(alike(runs.values(), names)) == 2


def test_options_that_change_no_image_keep_runs_alike(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    make("one")
    make("two", options={"trainer.threads": 1, "log_every": 3, "logger.project": "mine"})
    runs = runs_below(tmp_path / "sweep").values()
    assert varying(runs) == [] and len(alike(runs, ())) == 2


def test_a_run_that_failed_early_adds_no_precision_to_the_labels(
    make: Callable[..., RunRecord], tmp_path: Path
) -> None:
    make("one", options={"precision": "auto"})
    make("two", captures=(), status="failed", error="no", options={"precision": "auto"})
    assert varying(runs_below(tmp_path / "sweep").values()) == []


def test_different_images_of_one_name_have_different_names(tmp_path: Path) -> None:
    for name in ("here", "there"):
        config = configuration(tmp_path, {}, content="file")
        config["content"]["path"] = str(write_image(tmp_path / name / "photo.png"))
        write_run(tmp_path / "sweep" / name, config=config, content_sha256=name * 10)
    assert {run.content for run in runs_below(tmp_path / "sweep").values()} == {"photo (herehe)", "photo (theret)"}


def test_titles_and_means_say_what_was_swept(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep")
    report.main([str(tmp_path / "sweep")])
    text = (tmp_path / "sweep" / "report" / "report.md").read_text()
    page = (tmp_path / "sweep" / "report" / "index.html").read_text()
    assert (
        text.startswith("# Layers × loss.beta, 2 contents × 2 styles\n")
        and "<h1>Layers × loss.beta, 2 contents" in page
    )
    swept = "Swept: content (cat, coffee); style (dots, swell); layers (a, b); loss.beta (3, 30)."
    assert f"{swept} All: 64 px, 9 steps, loss.alpha=1." in text
    # the SSIM of the sixteen runs rises by 0.02 each, in the order content, style, layers, loss.beta
    table = text.partition("## Mean SSIM: layers against loss.beta")[2].splitlines()[2:6]
    assert table == ["| layers ↓  loss.beta → | 3 | 30 |", "| --- | --- | --- |", "| a | 0.420 | 0.440 |",
                     "| b | 0.460 | 0.480 |"]  # fmt: skip
    assert "| layers | a | 8 | 0.430 |" in text and "| style | swell | 8 | 0.490 |" in text
    assert "compare only within a style" in text
    assert "Gram distance (judge: vgg16 random)" in text
    for term in ("loss decay", "gradient SSIM", "patch distance", "judge"):
        assert text.partition("## Glossary")[2].count(f"| {term} | ") == 1 and f"<tr><td>{term}</td>" in page


def test_pairs_that_are_not_crossed_are_named_and_compared_as_pairs(
    make: Callable[..., RunRecord], tmp_path: Path
) -> None:
    for content, style in (("cat", "dots"), ("coffee", "swell")):
        for name in ("a", "b"):
            make(f"{content} {name}", content=content, style=style, options={"layers.name": name})
    runs = gather([tmp_path / "sweep"])
    assert headline(runs) == "Layers, 2 pairs"
    assert "Swept: pairs (cat in dots, coffee in swell); layers (a, b)." in count(runs)
    by_value = [(row["option"], row["value"]) for row in means(runs)[0].rows]
    assert by_value == [("pair", "cat in dots"), ("pair", "coffee in swell"), ("layers", "a"), ("layers", "b")]


def test_findings_compare_only_what_every_value_has_finished(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """A pair that only one layer set has finished would move that set's mean by the difference between the pairs."""
    make("cat a", options={"layers.name": "a"}, ssim=0.5, patch_distance=0.2)
    make("cat b", options={"layers.name": "b"}, ssim=0.4, patch_distance=0.1)
    make("coffee b", content="coffee", options={"layers.name": "b"}, ssim=0.9, patch_distance=0.9)
    make("coffee a", content="coffee", options={"layers.name": "a"}, captures=(3,), status="failed", error="no")
    (table,) = findings(gather([tmp_path / "sweep"]))
    assert [list(row.values()) for row in table.rows] == [
        ["layers", "2", "a: 0.500", "b: 0.400", "b: 0.100", "a: 0.200"]
    ]
    assert table.note.endswith("Layers: a = relu1_1; b = relu1_1 relu2_1.")
    make("cat b", options={"layers.name": "b"}, captures=(3,), status="failed", error="no")
    assert findings(gather([tmp_path / "sweep"])) == [], "nothing is comparable"


def test_findings_claim_no_difference_between_close_means(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Two of three within 1 % share a place; three do not differ."""
    for name, ssim, distance in (("a", 0.400, 0.2), ("b", 0.320, 0.201), ("e", 0.319, 0.1995)):
        make(name, options={"layers.name": name}, ssim=ssim, patch_distance=distance)
    (table,) = findings(gather([tmp_path / "sweep"]))
    assert list(table.rows[0].values()) == [
        *("layers", "3", "a: 0.400", "b and e: 0.32", "no difference (0.20)", "no difference (0.20)")
    ]


def test_findings_count_pairs_in_which_the_best_is_within_a_percent(
    make: Callable[..., RunRecord], tmp_path: Path
) -> None:
    """In dots b is best, but not by more than a percent; in swell a is; in tesserae b is, by far."""
    for style, a, b in (("dots", 0.400, 0.402), ("swell", 0.5, 0.3), ("tesserae", 0.30, 0.35)):
        for name, ssim in (("a", a), ("b", b)):
            make(f"{style} {name}", style=style, options={"layers.name": name}, ssim=ssim)
    (table,) = findings(gather([tmp_path / "sweep"]))
    assert list(table.rows[0].values())[2] == "a: 0.400 (in 2 of 3 pairs)"


def test_a_continued_run_is_marked_and_has_its_own_command(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    make("one")
    again = "python -m src.train resume=sweep/one steps=12"
    make("one-to-12", options={"steps": 12}, continued_from="sweep/one", continued_step=9, command=again)
    report.main([str(tmp_path / "sweep")])
    runs = runs_below(tmp_path / "sweep")
    assert runs["one-to-12"].label(["steps"]) == ["12 steps", "continued from step 9"]
    assert runs["one"].label(["steps"]) == ["9 steps"]
    page = (tmp_path / "sweep" / "report" / "index.html").read_text()
    assert f'"again":"{again}"' in page and '"tells":["12 steps","continued from step 9"]' in page


def test_trials_have_number_front_options_and_command(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    results = {0: (0.5, 0.20), 1: (0.4, 0.10), 2: (0.4, 0.20), 3: (0.6, 0.30)}  # 2 is beaten by 0 and by 1
    for trial, (ssim, distance) in results.items():
        options = {"study": "s", "trial": trial, "loss.beta": 1.5 + trial, "layers.name": "b"}
        options |= {"layers.weights": [0.1 * trial, 0.9]}
        make(f"trial-{trial:04d}", options=options, ssim=ssim, patch_distance=distance)
    report.main([str(tmp_path / "sweep")])
    runs = runs_below(tmp_path / "sweep")
    assert [run.on_front for run in runs.values()] == [True, True, False, True]
    text = (tmp_path / "sweep" / "report" / "report.md").read_text().partition("## Trials")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:8]]
    assert rows[0][:8] == ["trial", "front", "status", "SSIM", "patch distance", "score", "loss.beta", "layer weights"]
    assert [row[:2] for row in rows[2:]] == [["0", "yes"], ["1", "yes"], ["3", "yes"], ["2", ""]]
    assert rows[3][6:8] == ["2.5", "0.1 0.9"] and "loss.beta=2.5" in rows[3][8]


def test_only_one_judges_gram_distances_share_a_column(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    make("one", gram_distance=0.25, judge="vgg16 random")
    make("two", gram_distance=0.75, judge="embedded trained", options={"seed": 1})
    report.main([str(tmp_path / "sweep")])
    row = table_row((tmp_path / "sweep" / "report" / "report.md").read_text(), "two")
    assert row["Gram distance (judge: vgg16 random)"] == "–"
    assert row["Gram distance (judge: embedded trained)"] == "0.7500"


@pytest.mark.parametrize("why", ["moved", "changed", "not an image", "a FIFO", "EPS", "not in the cache"])
def test_a_picture_that_cannot_be_had_is_a_card(
    why: str, make: Callable[..., RunRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is written, with one warning for all rows; nothing is downloaded."""
    config, more = configuration(tmp_path, {}), {}
    file = tmp_path / "green.png"
    if why == "moved":
        file.unlink()
    elif why == "changed":
        more["content_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        write_image(file, color="red")
    elif why == "not an image":
        file.write_text("no picture")
    elif why == "a FIFO":
        file.unlink()
        os.mkfifo(file)
    elif why == "EPS":  # Pillow would hand it to Ghostscript
        file.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\n{} loop\n")
    else:
        config["content"] |= {"path": None, "url": "http://127.0.0.1:9/somewhere/green%20one.png"}
    for name in ("one", "two"):
        make(name, config=config, **more)
    report.main([str(tmp_path / "sweep")])
    warnings = capsys.readouterr().err.splitlines()
    contents = [line for line in warnings if "the content image" in line]
    assert len(contents) == 1 and "is not shown" in contents[0]
    image = pixels(tmp_path / "sweep" / "report" / "figure2.jpg")
    assert share(image, (0xEC, 0xEC, 0xEC)) > 0.05
    assert share(image, (0, 128, 0)) == share(image, (255, 0, 0)) == 0


def test_pictures_come_from_the_cache_and_the_mirror(
    make: Callable[..., RunRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A known picture is found where a run has put it, also when the mirror of that time is gone."""
    address = "http://127.0.0.1:9/somewhere/green%20one.png"
    cached = f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-green one.png"
    write_image(tmp_path / "cache" / "content" / cached, color="green")
    write_image(tmp_path / "mirror" / "style" / "purple.png", color="purple")
    config = configuration(tmp_path, {})
    config["content"] |= {"path": None, "url": address}
    config["style"] |= {"path": None, "url": "http://127.0.0.1:9/purple.png"}
    config["mirror"] = str(tmp_path / "mirror")
    make("one", config=config)
    red = {"url": None, "path": str(write_image(tmp_path / "red.png", color="red"))}
    make("two", config={**config, "style": {**config["style"], **red}, "mirror": str(tmp_path / "gone"), "seed": 1})
    report.main([str(tmp_path / "sweep")])
    assert capsys.readouterr().err == ""
    image = pixels(tmp_path / "sweep" / "report" / "figure2.jpg")
    green, purple, red = (share(image, color) for color in ((0, 128, 0), (128, 0, 128), (255, 0, 0)))
    assert purple == pytest.approx(red, rel=0.02) == pytest.approx(green / 2, rel=0.02) and green > 0.1


def test_the_published_record_beside_ours(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """Losses by iteration, each SSIM under its own name; runs of other losses and pairs are not compared."""
    content, style = known_picture("content", "beach").sha256, known_picture("style", "udnie").sha256
    publish = partial(make, content="beach", style="udnie", content_sha256=content, style_sha256=style)
    ours = publish("pair", captures=(2000, 4000, 6000), options=PUBLISHED | {"backbone.weights": "random"})
    publish("short", captures=(1000,), options=PUBLISHED | {"steps": 1000})
    make("no pair", content="astronaut", options=PUBLISHED)
    publish("other loss", options=PUBLISHED | {"loss.name": "normalized"})
    publish("not begun", captures=(), status="failed", error="no", options=PUBLISHED)
    # Images of the user's own with the names of the study's, beside which the others have digests in their names.
    publish("own", content_sha256="0" * 64, options=PUBLISHED)
    report.main([str(tmp_path / "sweep")])
    whole = rows_of(tmp_path / "sweep" / "report" / "published.csv")
    rows = [row for row in whole if row["folder"]]
    assert len({(row["content"], row["style"]) for row in whole}) == 126, "those without a run of ours are there too"
    with comparison.PUBLISHED.open(newline="") as file:
        (theirs,) = [x for x in csv.DictReader(file) if (x["content"], x["style"]) == ("beach", "udnie")]
    assert [Path(row["folder"]).name for row in rows] == ["pair", "short"]
    pair, short = rows
    for name, value in theirs.items():
        if name not in ("content", "style"):
            assert float(pair[f"published_{name}"]) == float(short[f"published_{name}"]) == float(value)
    assert float(pair["our_loss_at_0"]) == ours.initial_loss
    assert float(pair["our_loss_at_2000"]) == ours.captures[0].losses["total"]
    assert float(pair["our_loss_at_4000"]) == ours.captures[1].losses["total"]
    assert (float(pair["our_ssim_published"]), float(pair["our_ssim"])) == (ours.ssim_published, ours.ssim)
    assert float(pair["relative_difference_ssim"]) == (2 / 3 - 0.72) / 0.72
    assert short["our_loss_at_2000"] == short["relative_difference_loss_at_2000"] == ""
    assert (pair["not_as_published"], short["not_as_published"]) == ("weights random", "steps 1000")
    text = (tmp_path / "sweep" / "report" / "report.md").read_text()
    assert "Random weights, not ImageNet's, in 1 of 2 runs: not comparable." in text
    assert "| 0.7200 | 0.6667 (-7.4 %) |" in text
    assert "| SSIM | SSIM (published convention) | 2 | -7.4 % | -7.4 % | -7.4 % |" in text
    assert "1 of the 126 published rows have a run of ours" in text
    page = (tmp_path / "sweep" / "report" / "index.html").read_text()
    for sentence in comparison.corrections():
        assert f"| {sentence} |\n" in text + "\n" and f"<td>{Markup.escape(sentence)}</td>" in page


def test_corrections_agree_with_the_published_record() -> None:
    """The numbers in the sentences are those of the file."""
    with comparison.PUBLISHED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    speeds = sorted(float(row["iterations_per_second"]) for row in rows)
    similar = sorted(float(row["ssim"]) for row in rows)
    said = " ".join(comparison.corrections())
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
    damaged.write_text(json.dumps({"schema": 2, "status": "finished", "config": {}, "ssim": "high"}))
    report.main([str(tmp_path / "sweep")])
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(damaged) in error
    assert len(rows_of(tmp_path / "sweep" / "report" / "runs.csv")) == 1
    with pytest.raises(SystemExit, match="2"):
        report.main([str(damaged.parent)])


@pytest.mark.usefixtures("with_charts")
def test_strange_records_of_the_right_types_are_reported(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    make("large", width=2**62, height=1, it_per_s=1e100, ssim=-1e100, patch_distance=1e100, seconds=-1.0)
    make("negative", width=-5, height=-5, batch=-3, patch_distance=-1.0, gram_distance=0.0, judge="")
    make("empty", content="", style="", status="", options={"layers.name": "e", "layers.style": [], "steps": 0})
    make("above", content="../..", style="/", options={"layers.weights": [], "loss.alpha": 0.0, "loss.beta": 0.0})
    outside = make("outside", options={"seed": 2})
    outside.captures[-1].file = "../../../../../../etc/hostname"
    outside.write(tmp_path / "sweep" / "outside")
    report.main([str(tmp_path / "sweep")])
    assert len(rows_of(tmp_path / "sweep" / "report" / "runs.csv")) == 5


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
        ([], "error: no run record below multirun/; start a run, or name a folder\n"),
    ):
        with pytest.raises(SystemExit, match="2"):
            report.main(arguments)
        assert capsys.readouterr() == ("", message)
    assert not list(tmp_path.rglob("report*"))


@pytest.mark.usefixtures("with_charts")
def test_a_report_that_is_interrupted_or_not_read_to_its_end(
    make: Callable[..., RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make("one")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe, monkeypatch.context() as patch:  # as with `| head`
        patch.setattr(sys, "stdout", pipe)
        report.main([str(tmp_path / "sweep")])

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("src.report.runs.gather", interrupt)
    with pytest.raises(SystemExit, match="130"):
        report.main([str(tmp_path / "sweep")])
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.usefixtures("with_charts")
def test_without_a_folder_the_newest_sweep_is_reported(
    make: Callable[..., RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest by its records, whatever its name; one in which nothing finished is passed over."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("2026-01-02/10-00-00", "2026-01-01/12-00-00")):
        for run in ("one", "two"):
            make(f"../multirun/{name}/{run}")
            changed = 1e9 - 1000 * age - (500 if run == "two" else 0)
            os.utime(tmp_path / "multirun" / name / run / "record.json", (changed, changed))
    newest = Path("multirun", "2026-01-01", "12-00-00")
    os.utime(newest / "two" / "record.json")
    make("../multirun/2026-01-03/01-00-00/broken", captures=(), status="failed", error="loss.alpha and beta are 0")
    report.main([])
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    texts, drawn = ("index.html", "runs.csv", "report.md"), ("loss.png", "ssim.png", "trade_off.png")
    assert printed == [newest / "report" / name for name in (*texts, *drawn, "throughput.png", "figure2.jpg")]
    assert all(path.is_file() for path in printed)
    assert len(rows_of(printed[1])) == 2


def test_a_run_given_twice_is_listed_once(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    """And the report of several folders overwrites that of none of them."""
    make("one")
    make("two")
    report.main([str(tmp_path / "sweep")])
    own = (tmp_path / "sweep" / "report" / "index.html").read_bytes()
    report.main([str(tmp_path / "sweep" / "two"), str(tmp_path / "sweep")])
    (together,) = tmp_path.glob("report-*/runs.csv")
    assert sorted(Path(row["folder"]).name for row in rows_of(together)) == ["one", "two"]
    assert (tmp_path / "sweep" / "report" / "index.html").read_bytes() == own


@pytest.mark.usefixtures("with_charts")
def test_images_have_their_sizes_in_the_page(make: Callable[..., RunRecord], tmp_path: Path) -> None:
    make("one")
    report.main([str(tmp_path / "sweep")])
    folder = tmp_path / "sweep" / "report"
    page = (folder / "index.html").read_text()
    for name in ("figure2.jpg", "loss.png"):
        with Image.open(folder / name) as image:
            assert f'<img src="{name}" width="{image.width}" height="{image.height}"' in page


def test_help_loads_nothing_heavy() -> None:
    """Slow libraries are imported when there is something to draw."""
    heavy = ("torch", "matplotlib", "hydra", "PIL")
    code = f"import sys, src.report.__main__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (0.08131, "0.0813"), (5.4, "5.40"), (99.96, "100"), (1234.6, "1235"),
     (12345.6, "1.23×10⁴"), (72931720.0, "7.29×10⁷"), (4.2e-7, "4.20×10⁻⁷")],
)  # fmt: skip
def test_numbers_for_reading(value: float | None, text: str) -> None:
    """Three digits; powers of ten where they help."""
    assert tables.number(value) == text


def test_a_name_that_is_both_a_content_and_a_style(
    make: Callable[..., RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, style in itertools.product(("b", "c"), ("a", "b")):
        make(f"{content} {style}", content=content, style=style)
    headed = []
    source = figures._source
    monkeypatch.setattr(
        figures,
        "_source",
        lambda kind, run, images: headed.append((kind, getattr(run, kind))) or source(kind, run, images),
    )
    runs = gather([tmp_path / "sweep"])
    assert figures.grid(runs, Thumbnails(tmp_path / "out", runs, print))
    assert headed == [("style", "a"), ("style", "b"), ("content", "b"), ("content", "c")]


def test_images_that_a_run_accepted_are_shown_whatever_their_size(
    make: Callable[..., RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror in the home of a user who is not on this machine is no reason to stop."""
    make("one", options={"mirror": "~nouser/images"})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow refuses twice as many
    monkeypatch.setattr(thumbnails, "LARGE", 16)
    warned: list[str] = []
    runs = gather([tmp_path / "sweep"])
    images = Thumbnails(tmp_path / "out", runs, warned.append)
    assert all(images.capture(run, capture) for run in runs for capture in run.record.captures)
    assert len(warned) == 2 and all("there is no such user" in line for line in warned), warned
