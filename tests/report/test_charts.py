"""Figures of measured numbers: what is read for them, how it is parted, and that it is drawn where it belongs."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.report import charts, curves, labels, sheet
from src.tracking.record import Capture, RunRecord

BASE: dict[str, Any] = {
    "status": "finished", "content": "cat", "style": "dots", "layers": "b", "style_layers": ["relu1_1", "relu2_1"],
    "content_layer": "relu4_1", "loss": "normalized", "alpha": 1.0, "beta": 10.0, "tv": 0.0, "backbone": "embedded",
    "weights": "trained", "pool": "max", "init": "content", "optimizer": "adam", "lr": 0.01, "edge": 64, "fit": "keep",
    "steps": 100, "seed": 0, "precision": "32", "config": {},
}  # fmt: skip


def record(**more: Any) -> RunRecord:
    """Make a record of a run that finished."""
    return RunRecord(**{**BASE, **more})


def pixels(png: bytes | None) -> np.ndarray:
    """Read a figure."""
    assert png
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def near(image: np.ndarray, colour: str) -> np.ndarray:
    """Return where a figure has a colour, or nearly."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return (np.abs(image - wanted) < 12).all(-1)


def test_curves_are_those_that_were_logged(tmp_path: Path) -> None:
    rows = ["step,loss/total,loss/style/relu1_1,ssim,seconds"]
    rows += [f"{step},{1 / (step + 1)!r},{step / 3!r},,{step / 7!r}" for step in range(1000)]
    (tmp_path / "metrics.csv").write_text("\n".join([*rows, "1000,0.1"]))  # the last line cut by a kill
    found = curves.read(tmp_path, record(), 50)
    assert found and found.steps[:3] == [0, 1, 2] and found.steps[-1] == 999 and len(found.steps) <= 50
    assert found.total == [1 / (step + 1) for step in found.steps], "to the last digit"
    assert found.seconds == [step / 7 for step in found.steps]
    assert found.layers == {"relu1_1": [step / 3 for step in found.steps]}
    gaps = np.diff(found.steps)
    assert (np.diff(gaps) >= -1).all() and gaps[-1] > 50, "apart as they lie on a logarithmic axis"


def test_curves_without_a_log_are_those_of_the_captures(tmp_path: Path) -> None:
    captures = [Capture(50, 0.5, None, None, "a.png", seconds=4.0, layers={"relu1_1": 0.2})]
    captures += [Capture(100, 0.25, None, None, "b.png", seconds=10.0)]
    found = curves.read(tmp_path, record(initial_loss=1.0, captures=captures), 50)
    assert found and (found.steps, found.total) == ([0, 50, 100], [1.0, 0.5, 0.25])
    assert found.seconds == [0.0, 4.0, 10.0]
    assert found.layers["relu1_1"][1] == 0.2 and math.isnan(found.layers["relu1_1"][2])
    assert curves.read(tmp_path, record(), 50) is None


def test_time_that_was_not_logged_lies_between_the_captures(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss/total\n0,4\n25,3\n75,2\n120,1\n")
    captures = [Capture(50, 0.5, None, None, "a.png", seconds=4.0), Capture(100, 0.2, None, None, "b.png", seconds=10)]
    found = curves.read(tmp_path, record(captures=captures), 50)
    assert found and found.seconds[:3] == [0.0, 2.0, 7.0] and math.isnan(found.seconds[3])


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (1, 1e6, [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
        (0.03, 4, [0.05, 0.1, 0.2, 0.5, 1, 2]),
        (1.2, 6.5, [1.5, 2, 3, 4, 5, 6]),
        (0.4, 0.4, [0.4]),
    ],
)
def test_numbers_on_a_logarithmic_axis_are_round(low: float, high: float, marks: list[float]) -> None:
    assert sheet.ticks(low, high) == pytest.approx(marks)


def test_close_bounds_have_numbers_too() -> None:
    found = sheet.ticks(0.2031, 0.2257)
    assert 3 <= len(found) <= 7 and all(0.2031 <= each <= 0.2257 for each in found)
    assert len(sheet.ticks(1e-30, 1e30)) <= 7


def test_runs_part_by_what_a_reader_asks_for_first() -> None:
    runs = [(Path(name), record(layers=name, lr=lr)) for name in "ba" for lr in (0.01, 0.1)]
    assert list(labels.groups(runs, 8)) == ["layers a", "layers b"]
    assert list(labels.groups([(folder, record(lr=each.lr)) for folder, each in runs], 8)) == ["lr 0.01", "lr 0.1"]
    many = [(Path("x"), record(seed=seed, style="dots")) for seed in range(20)]
    assert list(labels.groups(many, 8)) == [""], "too many to tell apart"


def test_the_heat_map_has_means(tmp_path: Path) -> None:
    runs = [
        (tmp_path, record(content=content, style=style, ssim=value))
        for content, style, value in (
            *(("cat", "dots", 0.0), ("cat", "dots", 0.2), ("cat", "swell", 0.5)),
            *(("coffee", "dots", 0.3), ("coffee", "swell", 1.0)),
        )
    ]
    unfinished = (tmp_path, record(status="failed", content="rocket", ssim=0.9))
    found = charts.ssim_means(each for _, each in [*runs, unfinished])
    assert found == {("cat", "dots"): 0.1, ("cat", "swell"): 0.5, ("coffee", "dots"): 0.3, ("coffee", "swell"): 1.0}
    image = pixels(charts.heat_map([*runs, unfinished]))
    lowest, highest = near(image, "#440154"), near(image, "#fde725")  # the ends of viridis
    size = charts.BOX[0] * charts.BOX[1]
    assert 0.6 * size < lowest.sum() < size and 0.6 * size < highest.sum() < size, "a cell each"
    (low_y, low_x), (high_y, high_x) = (np.argwhere(each).mean(0) for each in (lowest, highest))
    assert low_x < high_x and low_y < high_y, "cat and dots: upper left; coffee and swell: lower right"
    assert charts.heat_map([unfinished]) is None


def test_losses_fall_in_all_panels(tmp_path: Path) -> None:
    """A loss that falls is drawn from the upper left to the lower right, against steps and against seconds."""
    steps = [0, 1, 10, 100]
    curve = curves.Curve(steps, [0.0, 0.1, 1.0, 10.0], [100.0, 10.0, 1.0, 0.1], {"relu1_1": [9.0, 3.0, 1.0, 0.3]})
    image = pixels(charts.losses([(tmp_path, record())], {tmp_path: curve}))
    half, middle = charts.LEFT + charts.PANEL + charts.BETWEEN // 2, charts.TOP + charts.HEIGHT - 3 * sheet.LINE
    drawn = near(image, "#436f9f") | near(image, charts.COLOURS[0]) | near(image, "#437db4")
    for rows in (slice(0, middle), slice(middle + 3 * sheet.LINE, None)):
        for columns in (slice(0, half), slice(half, charts.LEFT + 2 * charts.PANEL + charts.BETWEEN)):
            places = np.argwhere(drawn[rows, columns])
            assert len(places) > 300
            left, right = places[places[:, 1].argmin()], places[places[:, 1].argmax()]
            assert right[0] - left[0] > 200 and right[1] - left[1] > 300
    assert charts.losses([(tmp_path, record())], {}) is None


def test_speeds_part_by_network_and_device(tmp_path: Path) -> None:
    runs = [
        (tmp_path, record(width=100 * size, height=100, it_per_s=10 / size, device=device, backbone=backbone))
        for size in (1, 2, 4)
        for device, backbone in (("cpu", "embedded"), ("cpu", "vgg19"), ("cuda", "vgg19"))
    ]
    image = pixels(charts.throughput(runs))
    for colour in charts.COLOURS[:3]:
        assert near(image, colour).sum() > 50
    assert near(image, charts.COLOURS[3]).sum() == 0
    assert charts.throughput([(tmp_path, record())]) is None
