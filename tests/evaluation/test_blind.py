"""Blind comparisons: sheets that hide which image is whose, the key, and the tally of verdicts."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src import blind
from src.common.errors import InputError
from src.config.schema import RunConfig, plain
from src.tracking.record import RunRecord

CONTENTS, STYLES = ("astronaut", "cat"), ("dots", "swell", "brushwork")


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Runs with red images, and a folder of blue images; each set has a pair that the other lacks."""
    ours, theirs = tmp_path / "sweep", tmp_path / "pictures"
    for content in CONTENTS:
        for style in STYLES:
            config = plain(RunConfig())
            for kind, name in (("content", content), ("style", style)):
                path = tmp_path / f"{kind}.png"
                Image.new("RGB", (40, 30), "green").save(path)
                config[kind] |= {"name": name, "path": str(path)}
            run = ours / f"{content}-{style}"
            RunRecord(status="finished", config=config).write(run)
            Image.new("RGB", (32, 24), "red").save(run / "image.png")
            (theirs / content).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 24), "blue").save(theirs / content / f"{style}.png")
    (theirs / "cat/swell.png").unlink()
    (theirs / "cat/tesserae.png").write_bytes((theirs / "cat/dots.png").read_bytes())
    return ours, theirs


def _verdicts(path: Path, better: dict[str, str]) -> Path:
    path.write_text("pair,better\n" + "".join(f"{pair},{side}\n" for pair, side in better.items()))
    return path


def test_only_the_key_says_which_is_which_and_the_tally_uses_it(sets: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "blind"
    assert blind.lay_out(*sets, out, seed=3) == 5
    with (out / blind.KEY).open(newline="") as file:
        key = {row["pair"]: row for row in csv.DictReader(file)}
    assert len({row["A"] for row in key.values()}) == 2, "the order is random"
    for pair, row in key.items():
        pixels = np.asarray(Image.open(out / f"{pair}.png"))
        middle = pixels[blind.CAPTION + 12, [2 * 42 + 26, 3 * 42 + 26]]
        colours = ["ours" if colour[0] > 200 else "theirs" for colour in middle]
        assert colours == [row["A"], row["B"]]
    # ours is better for every cat, theirs for every astronaut
    wanted = {pair: "ours" if pair.startswith("cat") else "theirs" for pair in key}
    better = {pair: next(side for side in "AB" if row[side] == wanted[pair]) for pair, row in key.items()}
    table = blind.tally(out / blind.KEY, _verdicts(tmp_path / "v.csv", better))
    assert "| all | 2 | 5 | 40% |" in table
    assert "| content cat | 2 | 2 | 100% |" in table
    assert "| style swell | 0 | 1 | 0% |" in table


def test_the_same_seed_gives_the_same_order(sets: tuple[Path, Path], tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        blind.lay_out(*sets, tmp_path / name, seed)
    keys = [(tmp_path / name / blind.KEY).read_text() for name in ("one", "two", "other")]
    assert keys[0] == keys[1] != keys[2]


def test_wilson_interval() -> None:
    """The textbook example: 15 of 20 gives 0.531 to 0.888."""
    assert blind.wilson(15, 20) == pytest.approx((0.531, 0.888), abs=1e-3)
    assert blind.wilson(0, 10)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.popitem() and v, "4 verdicts on 4 pairs, .* has 5"),
        (lambda v: {**v, "cat--dots": "C"}, "neither A nor B: cat--dots"),
        (lambda v: {**v, "cat--nothing": "A"}, "not a pair of .*cat--nothing"),
    ],
)
def test_verdicts_that_do_not_fit_are_refused(
    change: Callable[[dict[str, str]], dict[str, str]], message: str, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    blind.lay_out(*sets, tmp_path, seed=0)
    pairs = [path.stem for path in tmp_path.glob("*--*.png")]
    with pytest.raises(InputError, match=message):
        blind.tally(tmp_path / blind.KEY, _verdicts(tmp_path / "v.csv", change(dict.fromkeys(pairs, "A"))))


def test_a_fifo_is_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    """Reading one would block."""
    blind.lay_out(*sets, tmp_path / "blind", seed=0)
    os.mkfifo(tmp_path / "verdicts.csv")
    with pytest.raises(InputError, match="not a regular file"):
        blind.tally(tmp_path / "blind" / blind.KEY, tmp_path / "verdicts.csv")
    (sets[1] / "cat" / "dots.png").unlink()
    os.mkfifo(sets[1] / "cat" / "dots.png")
    with pytest.raises(InputError, match="no such image file"):
        blind.lay_out(*sets, tmp_path / "again", seed=0)


def test_from_the_command_line(
    command_here: Callable[..., str], refused_here: Callable[..., str], sets: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "blind"
    assert "5 sheets" in command_here("src.blind", str(sets[0]), str(sets[1]), "--out", str(out))
    verdicts = _verdicts(tmp_path / "v.csv", {path.stem: "A" for path in out.glob("*--*.png")})
    assert "| all |" in command_here("src.blind", "--out", str(out), "--tally", str(verdicts))
    shown = refused_here("src.blind", str(tmp_path / "nothing"), str(sets[1]))
    assert shown.splitlines() == [f"error: no such folder: {tmp_path / 'nothing'}"]
