"""Optional packages, which an extra of pyproject.toml installs."""

import importlib.util
from collections.abc import Mapping

from src.common.errors import InputError

WITHOUT_SETUP = "ray"  # the extra that make setup leaves out; a make target of its name installs it


def missing(packages: Mapping[str, str]) -> list[str]:
    """Return the packages that are not installed, by the names that pip knows.

    Args:
        packages: those names, by module.
    """
    return [package for module, package in packages.items() if importlib.util.find_spec(module) is None]


def require(purpose: str, extra: str, packages: Mapping[str, str]) -> None:
    """Check that packages are installed.

    Args:
        purpose: what needs them.
        extra: of pyproject.toml, which installs them.
        packages: as for `missing`.

    Raises:
        InputError: one is missing; the message says how to install it.
    """
    if names := missing(packages):
        made = f"make {extra}, or " if extra == WITHOUT_SETUP else ""
        raise InputError(
            f"{purpose} needs packages that are not installed: {made}pip install {' '.join(names)} (the extra {extra})"
        )
