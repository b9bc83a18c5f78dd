"""Previews: when they are written, and that they change neither the run nor its name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from src.common.errors import InputError
from src.config.identity import identity, run_name
from src.config.schedule import Timetable
from src.config.schema import PREVIEW, RunConfig
from src.config.validation import validate
from src.run import run
from src.training.setup import PreparedRun
from tests.support.runs import run_until


def test_the_loop_pauses_for_previews() -> None:
    table = Timetable(10, (10,), log_every=100, checkpoint_every=100, preview_every=3, chunk=100)
    assert [step for step in range(1, 11) if table.previews_at(step)] == [3, 6, 9]
    assert [table.next_pause(step) for step in (0, 3, 9)] == [3, 6, 10]
    without = Timetable(10, (10,), log_every=100, checkpoint_every=100, chunk=100)
    assert not any(map(without.previews_at, range(11))) and without.next_pause(0) == 10


def test_previews_replace_each_other_and_change_no_run(
    small: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    write = PreparedRun.write_preview

    def written(self: PreparedRun, picture: object) -> None:
        write(self, picture)  # type: ignore[arg-type]
        with Image.open(self.context.folder / PREVIEW) as image:
            sizes.append(image.size)

    monkeypatch.setattr(PreparedRun, "write_preview", written)
    with_previews, without = small("preview_every=2", "color=luminance"), small("color=luminance")
    assert identity(with_previews) == identity(without) and run_name(with_previews) == run_name(without)
    for name, config in (("a", with_previews), ("b", without)):
        run(config, tmp_path / name)
    assert sizes == [(48, 48)] * 3
    assert not (tmp_path / "a" / PREVIEW).exists(), "the result is there"
    assert (tmp_path / "a/image.png").read_bytes() == (tmp_path / "b/image.png").read_bytes()


def test_no_preview_is_left_by_a_stopped_run(small: Callable[..., RunConfig], tmp_path: Path) -> None:
    run_until(5, small("preview_every=1"), tmp_path)
    assert (tmp_path / "image.png").is_file() and not (tmp_path / PREVIEW).exists()


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(InputError, match="preview_every must be zero or positive"):
        validate(RunConfig(preview_every=-1))
