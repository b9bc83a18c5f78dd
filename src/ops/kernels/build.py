"""Building a C file of this package into a library of the cache, and loading it."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from src.common.files import cache_folder, write_atomically
from src.common.platform import INSTRUCTIONS, cpu_entry

log = logging.getLogger(__name__)

COMPILERS = ("cc", "gcc", "clang")
# Not -ffast-math: it would hide a NaN, and change how the whole process rounds the smallest numbers.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fPIC", "-fopenmp")
LINK = ("-shared", "-nostdlib")  # its OpenMP is the one that PyTorch has loaded: a second one would double the threads
TIMEOUT_SECONDS = 60


@lru_cache
def load(name: str) -> ctypes.CDLL | None:
    """Return the library of `name`.c, built if the cache has none of this source, compiler and processor.

    None where there is no C compiler, or it fails: one line in the log says so.
    """
    source = Path(__file__).with_name(f"{name}.c")
    compiler = find_compiler()
    if compiler is None:
        log.info("no C compiler (CC, %s): PyTorch's own convolutions, which are slower", ", ".join(COMPILERS))
        return None
    try:
        return ctypes.CDLL(str(_built(source, compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error)
        reason = words.strip().splitlines()[-1:] or [type(error).__name__]
        log.info("%s could not be built (%s): PyTorch's own convolutions, which are slower", source.name, reason[0])
        return None


def find_compiler() -> str | None:
    """Return the C compiler: the environment's CC, else the first of the usual names that is there."""
    names = (os.environ["CC"],) if os.environ.get("CC") else COMPILERS
    return next((found for name in names if (found := shutil.which(name))), None)


def _built(source: Path, compiler: str) -> Path:
    # A home shared by the machines of a cluster has a library for each kind of processor.
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=TIMEOUT_SECONDS).stdout
    headers = (header.read_text() for header in sorted(source.parent.glob("*.h")))
    made_of = (source.read_text(), *headers, version, *FLAGS, *LINK, platform.machine(), cpu_entry(INSTRUCTIONS))
    digest = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    library = cache_folder() / "kernels" / f"{source.stem}-{digest}.so"
    if not library.is_file():
        with tempfile.TemporaryDirectory() as folder:
            made, linked = Path(folder) / "made.o", Path(folder) / "made.so"
            _call(compiler, *FLAGS, "-c", str(source), "-o", str(made))
            _call(compiler, *LINK, str(made), "-o", str(linked))
            write_atomically(library, linked.read_bytes())
    return library


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
