"""Curves as they are read, runs as they are grouped, and charts as they are drawn."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from src.config.schema import RunConfig, plain
from src.report import charts, curves
from src.report.runs import Run, grouped, left_out, means_by, name_runs
from src.report.summary import speeds
from src.tracking.record import Capture, RunRecord


def run_of(
    folder: Path = Path("run"), content: str = "cat", style: str = "dots", **more: Any
) -> tuple[Path, RunRecord]:
    """Return a folder and a record that finished; options by dotted names with __ for the dot."""
    config = plain(RunConfig())
    config["content"]["name"], config["style"]["name"] = content, style
    for name in [name for name in more if "__" in name or name in ("seed", "edge")]:
        group, _, leaf = name.rpartition("__")
        (config[group] if group else config)[leaf] = more.pop(name)
    return folder, RunRecord(**{"status": "finished", "precision": "32", "config": {**config, "steps": 100}, **more})


def one(*given: Any, **more: Any) -> Run:
    """Return a single run."""
    return name_runs([run_of(*given, **more)])[0]


def pixels(png: bytes | None) -> np.ndarray:
    """Return the pixels of a chart, (H, W, 3)."""
    assert png
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def near(image: np.ndarray, colour: str) -> np.ndarray:
    """Return where a chart has nearly a colour, (H, W)."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return (np.abs(image - wanted) < 12).all(-1)


def marks_of(low: float, high: float) -> list[float]:
    """Return the numbers on a logarithmic axis of these two values."""
    axes = Figure().add_subplot()
    axes.plot([0, 1], [low, high])
    charts.logarithmic(axes, "y")
    return [float(each) for each in axes.yaxis.get_majorticklocs() if low <= each <= high]


def fail(message: str) -> None:
    """Fail on a warning that no test expects."""
    raise AssertionError(message)


def test_curves_hold_what_was_logged(tmp_path: Path) -> None:
    rows = ["step,loss/total,loss/style/relu1_1,loss/palette,ssim,seconds"]
    rows += [f"{step},{1 / (step + 1)!r},{step / 3!r},0.5,,{step / 7!r}" for step in range(1000)]
    (tmp_path / "metrics.csv").write_text("\n".join([*rows, "1000,0.001,3.0,0.5,,14"]))  # cut by a kill: 142.8
    found = curves.read(one(tmp_path), 50, fail)
    assert found and found.steps[:3] == [0, 1, 2] and found.steps[-1] == 999 and len(found.steps) <= 50
    assert found.total == [1 / (step + 1) for step in found.steps], "to the last digit"
    assert found.seconds == [step / 7 for step in found.steps]
    assert list(found.terms) == ["style/relu1_1", "palette"]
    assert found.terms["style/relu1_1"] == [step / 3 for step in found.steps]
    gaps = np.diff(found.steps)
    assert (np.diff(gaps) >= -1).all() and gaps[-1] > 50, "evenly spaced on a logarithmic axis"


def test_curves_without_a_log_are_those_of_the_captures(tmp_path: Path) -> None:
    captures = [Capture(50, {"total": 0.5, "style/relu1_1": 0.2}, "a.png", seconds=4.0)]
    captures += [Capture(100, {"total": 0.25}, "b.png", seconds=10.0)]
    found = curves.read(one(tmp_path, initial_loss=1.0, captures=captures), 50, fail)
    assert found and (found.steps, found.total) == ([0, 50, 100], [1.0, 0.5, 0.25])
    assert found.seconds == [0.0, 4.0, 10.0]
    assert found.terms["style/relu1_1"][1] == 0.2 and math.isnan(found.terms["style/relu1_1"][2])
    assert curves.read(one(tmp_path), 50, fail) is None


@pytest.mark.parametrize(
    ("head", "step"),
    [
        (b"step", b"\xff\xfe"),
        (b"time", b"1"),
        *((b"step", step) for step in (b"soon", b"1.5", b"-1", b"1e300", b"nan")),
    ],
    ids=["no text", "no step", "a word", "a fraction", "negative", "huge", "nan"],
)
def test_a_damaged_metrics_file_is_left_out_with_one_warning(head: bytes, step: bytes, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(head + b",loss/total\n" + step + b",1\n")
    warnings: list[str] = []
    assert curves.read(one(tmp_path), 50, warnings.append) is None
    assert len(warnings) == 1 and "metrics.csv is left out" in warnings[0]


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (1, 1e6, [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
        (0.03, 4, [0.05, 0.1, 0.2, 0.5, 1, 2]),
        (1.2, 6.5, [2, 3, 4, 5, 6]),
    ],
)
def test_numbers_on_a_logarithmic_axis_are_round(low: float, high: float, marks: list[float]) -> None:
    assert marks_of(low, high) == pytest.approx(marks)


def test_close_bounds_have_numbers_too() -> None:
    assert 3 <= len(marks_of(0.2031, 0.2257)) <= 7
    assert len(marks_of(1e-30, 1e30)) <= 7


def test_runs_are_grouped_by_the_first_option_that_parts_them_into_few() -> None:
    found = [run_of(Path(f"{name}{lr}"), layers__name=name, optimizer__lr=lr) for name in "ba" for lr in (0.01, 0.1)]
    assert list(grouped(name_runs(found), 8)) == ["layers a", "layers b"]
    assert list(grouped(name_runs(found[:2]), 8)) == ["lr 0.01", "lr 0.1"]
    many = name_runs([run_of(Path(str(seed)), seed=seed) for seed in range(20)])
    assert list(grouped(many, 8)) == [""], "too many to tell apart"


def test_the_heat_map_has_means(tmp_path: Path) -> None:
    values = (
        *(("cat", "dots", 0.0), ("cat", "dots", 0.2), ("cat", "swell", 0.5)),
        *(("coffee", "dots", 0.3), ("coffee", "swell", 1.0)),
    )
    finished = [run_of(tmp_path / str(at), *pair, ssim=value) for at, (*pair, value) in enumerate(values)]
    unfinished = run_of(tmp_path / "failed", "rocket", status="failed", ssim=0.9)
    runs = name_runs([*finished, unfinished])
    assert means_by(runs, ("content", "style"), "ssim") == {
        ("cat", "dots"): 0.1, ("cat", "swell"): 0.5, ("coffee", "dots"): 0.3, ("coffee", "swell"): 1.0
    }  # fmt: skip
    image = pixels(charts.heat_map(runs))
    lowest, highest = near(image, "#440154"), near(image, "#fde725")  # the ends of viridis
    size = charts.BOX[0] * charts.BOX[1]
    assert 0.6 * size < lowest.sum() < size and 0.6 * size < highest.sum() < size, "a cell each"
    (low_y, low_x), (high_y, high_x) = (np.argwhere(each).mean(0) for each in (lowest, highest))
    assert low_x < high_x and low_y < high_y, "cat and dots: upper left; coffee and swell: lower right"
    assert charts.heat_map(name_runs([unfinished])) is None


def test_the_means_of_a_heat_map_are_over_what_is_left_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "CELLS", 2)
    cases = [("a", 0.1), ("b", 0.2), ("c", 0.9)]
    runs = name_runs([run_of(Path(f"{name}{style}"), name, style, ssim=ssim) for name, ssim in cases for style in "xy"])
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    charts.heat_map(runs)
    [axes] = drawn[0].axes
    assert [each.get_text() for each in axes.texts] == [
        *("0.10", "0.10", "0.10"), *("0.20", "0.20", "0.20"), *("0.40", "0.40", "0.40")
    ]  # fmt: skip
    assert left_out([run.pair for run in runs], charts.CELLS) == " Of 3 contents the first 2."


def test_falling_losses_are_drawn_falling_in_every_panel(tmp_path: Path) -> None:
    """From the upper left to the lower right, against steps and against seconds, total, terms and layers."""
    steps = [0, 1, 10, 100]
    terms = {"content": [9.0, 3.0, 1.0, 0.3], "style/relu1_1": [9.0, 3.0, 1.0, 0.3]}
    curve = curves.Curve(steps, [0.0, 0.1, 1.0, 10.0], [100.0, 10.0, 1.0, 0.1], terms)
    image = pixels(charts.losses([one(tmp_path)], {tmp_path: curve}))
    drawn = near(image, "#436f9f") | near(image, charts.COLOURS[0]) | near(image, "#437db4")
    tall, wide = drawn.shape
    for row in range(3):
        for columns in (slice(round(0.42 * wide)), slice(round(0.45 * wide), round(0.845 * wide))):
            places = np.argwhere(drawn[row * tall // 3 : (row + 1) * tall // 3, columns])
            assert len(places) > 300
            left, right = places[places[:, 1].argmin()], places[places[:, 1].argmax()]
            assert right[0] - left[0] > 200 and right[1] - left[1] > 300
    assert charts.losses([one(tmp_path)], {}) is None


def test_speeds_are_grouped_by_network_device_precision_and_batch(tmp_path: Path) -> None:
    """A run of a batch reports the speed of each pair, so that it has a colour of its own."""
    cases = [("cpu", "embedded", 1), ("cpu", "vgg19", 1), ("cuda", "vgg19", 1), ("cpu", "embedded", 8)]
    runs = name_runs(
        [
            run_of(tmp_path / f"{size}{case}", width=100 * size, height=100, it_per_s=10 / size, mpx_it_per_s=0.1,
                   device=device, backbone__name=backbone, batch=batch)
            for size in (1, 2, 4)
            for case, (device, backbone, batch) in enumerate(cases)
        ]
    )  # fmt: skip
    assert {charts.speed_group(run) for run in runs} == {
        "embedded, cpu, 32", "vgg19, cpu, 32", "vgg19, cuda, 32", "embedded, cpu, 32, batch of 8"
    }  # fmt: skip
    image = pixels(charts.throughput(runs))
    for colour in charts.COLOURS[:4]:
        assert near(image, colour).sum() > 50
    assert near(image, charts.COLOURS[4]).sum() == 0
    assert charts.throughput([one(tmp_path)]) is None


def test_speed_by_size_is_the_recorded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not it/s times the size of the result: it/s is the mean over all sizes of a pyramid."""
    runs = name_runs([run_of(width=400, height=300, it_per_s=10.0, mpx_it_per_s=0.8)])
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    charts.throughput(runs)
    left, right = (axes.collections[0].get_offsets().tolist() for axes in drawn[0].axes)
    assert left == [[0.12, 10.0]] and right == [[0.12, 0.8]]
    [row] = speeds(runs)[0].rows
    assert (row["it/s, median"], row["Mpx · it/s, median"]) == ("10.0", "0.800")


@pytest.mark.parametrize(("step", "fewest", "most"), [(0.0005, 2, 7), (0.05, 13, 13)], ids=["close", "apart"])
def test_names_of_dots_never_overlap(
    step: float, fewest: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of runs with nearly the same measures only some are named; far apart, all are."""
    found = [
        run_of(tmp_path / str(at), style="ab"[at % 2], seed=at, ssim=0.3 + at * step, patch_distance=0.2 + at * step)
        for at in range(12)
    ]
    far = run_of(tmp_path / "far", seed=99, ssim=0.9, patch_distance=0.9)
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    charts.trade_off(name_runs([*found, far]))
    (axes,) = drawn[0].axes
    assert drawn[0].dpi == charts.DPI, "text is measured at the resolution at which it is drawn"
    boxes = [each.get_window_extent() for each in axes.texts]
    assert fewest <= len(boxes) <= most
    assert not any(box.count_overlaps(boxes[:at]) for at, box in enumerate(boxes))


def test_gram_distances_of_two_judges_are_never_on_one_axis(tmp_path: Path) -> None:
    """Those of the rarer judge are left out of the chart."""

    def drawn(judges: tuple[str, ...]) -> bytes | None:
        found = [
            run_of(tmp_path / str(at), ssim=0.1 * at, gram_distance=0.01 * at, judge=judge, seed=at)
            for at, judge in enumerate(judges, start=1)
        ]
        return charts.trade_off(name_runs(found))

    assert charts.usual_judge(name_runs([run_of(judge="vgg16", gram_distance=1.0)])) == "vgg16"
    mixed, alone = pixels(drawn(("vgg16", "vgg16", "embedded"))), pixels(drawn(("vgg16", "vgg16")))
    assert (mixed == alone).all() and near(alone, charts.COLOURS[1]).any()
