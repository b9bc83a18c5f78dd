from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from src.common.errors import InputError
from src.data.views import NAMES, read_views
from tests.support.models import plane_views, surface_views


def test_views_are_read_as_they_were_written(tmp_path: Path) -> None:
    views = plane_views(samples=2)
    views.write(tmp_path / "a")
    read = read_views(tmp_path / "a")
    for name in NAMES:
        np.testing.assert_array_equal(getattr(read, name), getattr(views, name), strict=True)
    read.write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_views_of_earlier_versions_have_one_turn(tmp_path: Path) -> None:
    views = plane_views()
    arrays = {name: np.asarray(getattr(views, name), order="C") for name in NAMES if name != "turns"}
    (tmp_path / "views").write_bytes(save(arrays))
    assert read_views(tmp_path / "views").turns == 1


def test_a_turn_has_its_share_of_the_cameras() -> None:
    views = plane_views()
    cameras = np.arange(6.0)[:, None, None] + np.zeros((6, 3, 4))
    turned = surface_views(views.corners, views.uv, cameras, 1.0, 1.0, 1, turns=np.array(3), sheet=np.array([1, 2]))
    for number in range(3):
        turn = turned.turn(number)
        np.testing.assert_array_equal(turn.cameras[:, 0, 0], [2 * number, 2 * number + 1])
        assert turn.turns == 1


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "shape", "room", "turns"])
def test_a_damaged_file_is_told_in_one_line(damage: str, tmp_path: Path) -> None:
    path, views = tmp_path / "views", plane_views()
    views.write(path)
    if damage == "shape":
        surface_views(views.corners[:1], views.uv, views.cameras, 1.0, 1.0, 1).write(path)
    elif damage == "room":
        surface_views(views.corners, views.uv, views.cameras, 1.0, 1.0, 1, sheet=np.array([0, 1])).write(path)
    elif damage == "turns":
        surface_views(views.corners, views.uv, views.cameras, 1.0, 1.0, 1, turns=np.array(2)).write(path)
    else:
        path.write_bytes({"empty": b"", "text": b"views", "truncated": path.read_bytes()[:-8]}[damage])
    with pytest.raises(InputError, match=r"is no file of views, as python -m src\.mesh writes them") as told:
        read_views(path)
    assert "\n" not in str(told.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_views(tmp_path / "none")
