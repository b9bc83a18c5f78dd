"""Compiling the kernels: what happens without a compiler, with one that fails, and without a cache; and the switch."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from src.ops import kernels
from src.ops.kernels import build, products, winograd
from src.ops.nearest import argmax_products

needs_compiler = pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")


@pytest.fixture(autouse=True)
def _nothing_loaded(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("INFO")
    build._logged.clear()
    for cached in (build.load, winograd._is_correct):
        cached.cache_clear()
    yield
    for cached in (build.load, winograd._is_correct):
        cached.cache_clear()


def _search_and_convolve() -> None:
    rows, columns = torch.randn(5, 40), torch.randn(300, 40)
    assert torch.equal(argmax_products(rows, columns), (rows @ columns.T).argmax(1))
    assert winograd.usable(torch.zeros(64, 64, 3, 3)) == winograd.available()


def test_without_a_compiler_pytorch_is_used_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    _search_and_convolve()
    assert not kernels.available()
    assert [record.message for record in caplog.records] == [
        "no C compiler found (CC, cc, gcc, clang): PyTorch's own operators are used, which are slower"
    ]


@needs_compiler
def test_a_compiler_may_have_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    [compiler, *_] = build.find_compiler() or []
    monkeypatch.setenv("CC", f"env LANG=C '{compiler}'")
    _search_and_convolve()
    assert kernels.available()


@needs_compiler
def test_a_compiler_that_fails_leaves_no_file_and_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'cannot find omp.h' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    _search_and_convolve()
    assert not kernels.available()
    assert len(caplog.records) == 1 and "cannot find omp.h" in caplog.text and not list(tmp_path.rglob("*.so"))


@needs_compiler
@pytest.mark.parametrize("file", ["cache", "cache/kernels"])
def test_with_a_cache_that_cannot_be_written_the_kernels_are_compiled_for_the_process(
    file: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A file stands where the folder would be: root, too, cannot write there."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("")
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    _search_and_convolve()
    assert kernels.available()
    assert len(caplog.records) == 1 and caplog.text.count("cannot write to") == 1


@needs_compiler
def test_libraries_of_a_cache_that_is_read_only_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    assert kernels.available()
    build.load.cache_clear()
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path / "elsewhere")
    assert kernels.available() and not list(tmp_path.glob("elsewhere/**/*.so"))


@needs_compiler
def test_without_any_folder_to_write_to_pytorch_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    _search_and_convolve()
    assert not kernels.available() and len(caplog.records) == 1


@needs_compiler
def test_libraries_are_taken_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path))
    assert kernels.available()
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.so")}
    assert len(files) == 2
    build.load.cache_clear()
    assert kernels.available()
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.so")} == files


@needs_compiler
def test_the_switch_holds_until_its_block_ends() -> None:
    rows = torch.zeros(1, 3)
    with kernels.use(False):
        assert not kernels.available() and not kernels.enabled() and not products.usable(rows, rows)
        with kernels.use(True):
            assert kernels.available()
        assert not kernels.available()
    assert kernels.available() and products.usable(rows, rows)
    with pytest.raises(ZeroDivisionError), kernels.use(False):
        _ = 1 / 0
    assert kernels.enabled()


def test_while_switched_off_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path))
    with kernels.use(False):
        _search_and_convolve()
        assert not kernels.available()
    assert not list(tmp_path.rglob("*.so"))
