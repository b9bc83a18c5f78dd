"""Paths and caches that cannot be used."""

import fcntl
import logging
from pathlib import Path

import pytest

from src.common.errors import InputError, first_line, shortened
from src.common.files import LOCK, cache_folder, expanded, is_locked, sole_writer


def test_several_may_ask_at_once_whether_a_folder_is_in_use(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with sole_writer(tmp_path):
        assert is_locked(tmp_path)
    with (tmp_path / LOCK).open("rb") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        assert not is_locked(tmp_path)
    (tmp_path / LOCK).chmod(0o444)
    assert not is_locked(tmp_path)


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
