"""Folders of pictures: names of results."""

from pathlib import Path

import pytest

from src.data.folders import distinct_names


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"]),
        (["a.jpg", "a.jpg.png"], ["a", "a.jpg.png"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        (["A.jpg", "a.png"], ["A.jpg", "a.png"]),
        (["A.jpg", "a.jpg"], ["A.jpg", "a.jpg-2"]),
        (["x/a.jpg", "y/a.jpg", "z/a.jpg", "b.jpg"], ["a.jpg", "a.jpg-2", "a.jpg-3", "b"]),
        (["a.jpg-2.png", "x/a.jpg", "y/a.jpg"], ["a.jpg-2", "a.jpg", "a.jpg-3"]),
        ([], []),
    ],
)
def test_names_of_results_are_distinct(files: list[str], names: list[str]) -> None:
    assert distinct_names([Path(file) for file in files]) == names
