"""Networks that stylise an image in one pass: constants, which need no PyTorch."""

from typing import NamedTuple

STRIDE = 4  # height and width of an input are multiples of it
SMALLEST = 2 * STRIDE  # px, smallest height and width: reflection padding needs two rows at quarter resolution
TILE = 1024  # side of the tiles of larger pictures, without their margin, px


class Size(NamedTuple):
    """Channels at full, half and quarter resolution, and the number of residual blocks at quarter resolution."""

    widths: tuple[int, int, int]
    blocks: int


SIZES = {
    "small": Size((8, 16, 32), 3),
    "half": Size((16, 32, 64), 5),
    "johnson": Size((32, 64, 128), 5),
}
