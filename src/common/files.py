"""Files that are written whole or not at all, folders that only one process writes to, and the cache."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from src.common.errors import InputError

LOCK = "run.lock"  # in the run folder, held while a process is at work there


def cache_folder() -> Path:
    """Return the cache: `STYLE_CACHE`, else `neural-style-lightning` in the user's cache folder."""
    if chosen := os.environ.get("STYLE_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "neural-style-lightning"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that appears at `path` when the block ends, and not at all when it raises.

    A reader sees the old file or the new, never a part.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; the old file is intact.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            yield file  # type: ignore[misc]
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException as error:
        if temporary:
            with suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def write_error(path: Path, error: OSError) -> InputError:
    """Return the error of one line for a file that could not be written."""
    return InputError(f"cannot write {path}: {error.strerror or error}")


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all; raises as `atomic_file` does."""
    with atomic_file(path) as file:
        file.write(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def is_locked(folder: Path) -> bool:
    """Return whether a process is at work in a run folder."""
    try:
        with (folder / LOCK).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock file, or a file system without locks: nothing can be told
        return False
    return False


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold `folder/run.lock` while the block runs; the lock goes with the process, also when it is killed.

    Raises:
        InputError: another process holds it, or the folder cannot be written to.
    """
    lock = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is at work in {folder}; wait for it or stop it first") from None
        except OSError:
            pass  # a file system without locks: go on without
        yield
