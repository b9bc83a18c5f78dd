"""Write files atomically, lock run folders, find the cache."""

import atexit
import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import BinaryIO

from src.common.errors import InputError, InUse

log = logging.getLogger(__name__)

LOCK = "run.lock"  # in a run folder, locked while a process works there
_CHECK: ContextVar[Callable[[], None] | None] = ContextVar("_CHECK", default=None)


def expanded(path: Path | str) -> Path:
    """Return a path with `~` and `~user` replaced.

    Raises:
        InputError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: there is no such user; write ./~... for a file whose name begins with ~") from None


def chosen_cache() -> Path:
    """Return `STYLE_CACHE`, else `neural-style-lightning` in the user's cache folder; it may be read-only."""
    if chosen := os.environ.get("STYLE_CACHE"):
        return expanded(chosen)
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "neural-style-lightning"


def cache_folder() -> Path:
    """Return the folder to cache files in: `chosen_cache()`, or a temporary one for this process if it is read-only."""
    return _writable(chosen_cache())


@cache
def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        temporary = tempfile.TemporaryDirectory(prefix="neural-style-lightning-")
        atexit.register(temporary.cleanup)
        log.warning("cannot write to the cache %s (%s); using a temporary folder", folder, error.strerror)
        return Path(temporary.name)


@contextmanager
def guarded_writes(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each change of a file in the block; it raises where the process may no longer write."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def check_write() -> None:
    """Raise what the `check` of `guarded_writes` raises; do nothing outside of such a block."""
    if check := _CHECK.get():
        check()


@contextmanager
def atomic_file(path: Path, private: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the block ends, and is deleted when the block raises.

    Args:
        path: to write.
        private: only its owner may read it, from the beginning.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; the old file is intact.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:100]}.", delete=False) as file:
            temporary = Path(file.name)
            yield file  # type: ignore[misc]
            file.flush()
            os.fsync(file.fileno())
        if not private:
            temporary.chmod(0o666 & ~_umask())
        check_write()
        temporary.replace(path)
    except BaseException as error:
        if temporary:
            with suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def write_error(path: Path, error: OSError) -> InputError:
    """Return the error for a file that could not be written."""
    return InputError(f"cannot write {path}: {error.strerror or error}")


def write_atomically(path: Path, data: bytes, private: bool = False) -> None:
    """Write `data` to `path` as a whole or not at all; arguments and errors as of `atomic_file`."""
    with atomic_file(path, private) as file:
        file.write(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def is_locked(folder: Path) -> bool:
    """Return whether a process works in a run folder."""
    try:
        with (folder / LOCK).open("rb") as file:  # shared, so that several may ask at once
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock file, or a file system without locks
        return False
    return False


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a lock on `folder/run.lock` inside the block; the system releases it when the process ends.

    Raises:
        InUse: another process holds it.
        InputError: the folder cannot be written to.
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
            raise InUse(f"another process is using {folder}; wait for it to finish or stop it") from None
        except OSError:  # a file system without locks
            pass
        yield
