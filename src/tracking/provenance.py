"""Describe the origin of a result: versions, commit, command, time."""

import functools
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

_PACKAGES = (
    *("torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf"),
    *("wandb", "numpy", "pillow", "scikit-image", "opencv-python-headless", "av", "imagecodecs", "trimesh"),
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@functools.cache
def commit() -> str | None:
    """Return the commit of this program, with `-dirty` if files differ from it; None outside a git checkout.

    Asked once in a process, whose code is that of its start.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def command() -> str:
    """Return the command line of this process, quoted for a shell."""
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    if module and module.name:
        return shlex.join(["python", "-m", module.name.removesuffix(".__main__"), *sys.argv[1:]])
    return shlex.join(["python", *sys.argv])


def timestamp() -> str:
    """Return the present time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
