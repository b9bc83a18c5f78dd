"""Paths and caches that cannot be used."""

import logging
from pathlib import Path

import pytest

from src.common.errors import InputError, first_line, shortened
from src.common.files import cache_folder, expanded


def test_home_folders() -> None:
    assert expanded("~/a") == Path.home() / "a"
    with pytest.raises(InputError, match="there is no such user"):
        expanded("~no_such_user_here/a")


def test_a_cache_that_cannot_be_written_is_replaced_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" and not caplog.messages
    (tmp_path / "file").touch()
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        folder = cache_folder()
        assert cache_folder() == folder
    (folder / "x").touch()
    [line] = caplog.messages
    assert f"cannot write to the cache {tmp_path / 'file'}" in line and "temporary folder" in line


def test_long_lines_lose_their_middle() -> None:
    text = shortened(f"begin{'x' * 5000}end\nshort")
    assert text.startswith("begin") and text.endswith("end\nshort") and len(text.splitlines()[0]) <= 1000
    assert first_line(ValueError("a\nb")) == "a" and first_line(ValueError()) == "ValueError"
