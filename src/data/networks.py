"""Find the files of feed-forward networks; imports nothing heavy."""

from pathlib import Path

from src.common.errors import InputError
from src.common.files import expanded

SHIPPED = Path(__file__).resolve().parent.parent / "assets" / "networks"
SUFFIX = ".safetensors"


def shipped() -> list[str]:
    """Return the names of the networks that come with the program."""
    return sorted(path.stem for path in SHIPPED.glob(f"*{SUFFIX}"))


def network_path(weights: str, option: str = "weights") -> Path:
    """Return the file of a network.

    Args:
        weights: name of a network that comes with the program, or a path.
        option: that gave it, for the message.

    Raises:
        InputError: there is none.
    """
    if weights in shipped():
        return SHIPPED / f"{weights}{SUFFIX}"
    path = expanded(weights)
    if not path.is_file():
        raise InputError(
            f"{option}={weights} is no network: give a file that src.distill wrote, or one of: {', '.join(shipped())}"
        )
    return path
