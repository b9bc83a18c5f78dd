"""Compile the C files of this package, keep the libraries in the cache, and load them."""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from src.common.errors import InputError
from src.common.files import cache_folder, chosen_cache, write_atomically
from src.common.platform import INSTRUCTIONS, cpu_entry

log = logging.getLogger(__name__)

COMPILERS = ("cc", "gcc", "clang")
# Without -ffast-math, which would hide NaN and change how the whole process rounds subnormal numbers.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fPIC", "-fopenmp")
LINK = ("-shared", "-nostdlib")  # uses the OpenMP that PyTorch has loaded: a second one would double the threads
TIMEOUT_SECONDS = 60
FALLBACK = "PyTorch's own operators are used, which are slower"

_enabled = True
_logged: set[str] = set()


def enabled() -> bool:
    """Return whether the kernels are switched on, as they are at first."""
    return _enabled


@contextmanager
def use(on: bool) -> Iterator[None]:
    """Switch the kernels on or off for the whole process until the block ends."""
    global _enabled
    before, _enabled = _enabled, on
    try:
        yield
    finally:
        _enabled = before


@lru_cache
def load(name: str) -> ctypes.CDLL | None:
    """Return the library of `name`.c, compiled if the cache has none of this source, compiler and processor.

    Returns:
        None if compiling or loading fails, which is logged once.
    """
    compiler = find_compiler()
    if compiler is None:
        _log_once("no C compiler found", f"(CC, {', '.join(COMPILERS)}): {FALLBACK}")
        return None
    try:
        library = _compiled(Path(__file__).with_name(f"{name}.c"), compiler)
    except (OSError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        reason = lines[-1] if lines else type(error).__name__
        _log_once("the C kernels could not be compiled", f"({reason}): {FALLBACK}")
        return None
    library.space.restype = ctypes.c_size_t
    return library


def _log_once(fact: str, details: str) -> None:
    """Log a fact once in the process, although it may be found for each kernel."""
    if fact not in _logged:
        _logged.add(fact)
        log.info("%s %s", fact, details)


def find_compiler() -> list[str] | None:
    """Return the command of the C compiler: the environment's CC, else the first of `COMPILERS` that is installed."""
    commands = [shlex.split(os.environ["CC"])] if os.environ.get("CC") else [[name] for name in COMPILERS]
    return next(([found, *more] for name, *more in commands if (found := shutil.which(name))), None)


def address(tensor: Tensor | None) -> ctypes.c_void_p | None:
    """Return the address of a tensor's data as an argument of a C function; NULL for None."""
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def _compiled(source: Path, compiler: list[str]) -> ctypes.CDLL:
    # The processor is part of the name, because machines of a cluster may share a home folder.
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, timeout=TIMEOUT_SECONDS).stdout
    headers = (header.read_text() for header in sorted(source.parent.glob("*.h")))
    made_of = (source.read_text(), *headers, version, *FLAGS, *LINK, platform.machine(), cpu_entry(INSTRUCTIONS))
    digest = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    name = f"kernels/{source.stem}-{digest}.so"
    present = chosen_cache() / name
    if present.is_file():
        return ctypes.CDLL(str(present))
    cached = cache_folder() / name  # elsewhere if the chosen cache is read-only
    with tempfile.TemporaryDirectory() as folder:  # a loaded library stays in memory when its file is deleted
        compiled, linked = Path(folder) / "compiled.o", Path(folder) / "linked.so"
        _run(*compiler, *FLAGS, "-c", str(source), "-o", str(compiled))
        _run(*compiler, *LINK, str(compiled), "-o", str(linked))
        try:
            write_atomically(cached, linked.read_bytes())
        except InputError:
            _log_once("cannot write to", f"{cached.parent}: the C kernels are compiled for this process alone")
        return ctypes.CDLL(str(linked))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
