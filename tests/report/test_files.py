"""Results of other formats and colours in the report, in blind comparisons, and at the end of a continued run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from src.blind import collect
from src.common.errors import InputError
from src.report import __main__ as report
from src.run import resumed, run
from src.tracking import record as records
from tests.report.test_report import rows_of


def test_results_of_any_format_are_shown_and_compared(small: Callable, tmp_path: Path) -> None:
    short = ("loss=moments", "steps=2", "captures=[1.0]", "format=tiff")
    for color in ("style", "content"):
        run(small(*short, f"color={color}"), tmp_path / "sweep" / color)
    report.main([str(tmp_path / "sweep")])
    page = tmp_path / "sweep/report/index.html"
    assert sorted(row["color"] for row in rows_of(page.with_name("runs.csv"))) == ["content", "style"]
    assert '"color"' in page.read_text() and "step_000002.tiff" in page.read_text()
    assert "color=content" in page.read_text() and "format=tiff" in page.read_text(), "the commands to repeat the runs"
    assert len(list(page.parent.glob("images/*-small.jpg"))) == 4, "content, style and two captures"
    (picture,) = collect(tmp_path / "sweep/style").values()
    assert picture.name == "image.tiff" and picture.is_file()
    folder = tmp_path / "sweep/style"
    with pytest.raises(InputError, match=r"init=file init.path=.*image\.tiff"):
        (folder / "last.ckpt").unlink()
        resumed(folder, {"steps": 4})
    assert records.read(folder) is not None
