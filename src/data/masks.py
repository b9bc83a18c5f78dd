"""Read masks: images whose values or colours are the labels of regions.

A label is a grey value, "255", or another colour, "#ff0000". A label in place of a file stands for a mask filled with
it; a picture without a mask counts as white.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from src.common.errors import InputError
from src.data.images import open_image

if TYPE_CHECKING:
    from torch import Tensor

WHITE = "255"
# With more greys than this, a mask is black and white with soft edges (anti-aliased, or from a JPEG), not labels.
MOST_LABELS = 16
# So is one whose greys between black and white together cover less than this share of the picture.
LEAST_AREA = 0.02
SHAPE_TOLERANCE = 0.02  # of the ratio of width to height


@dataclass(frozen=True)
class Mask:
    """The regions of an image.

    Attributes:
        shares: by label, (H, W) bool or float32 in [0, 1]: the part of each pixel in the region. Their sum is 1.
        path: the file; None for a mask of one value.
    """

    shares: dict[str, np.ndarray]
    path: Path | None = None

    @classmethod
    def whole(cls, label: str = WHITE) -> "Mask":
        """Return the mask of one value all over, for a picture of any shape."""
        return cls({label.lower(): np.ones((1, 1), dtype=bool)})

    def tensor(self, labels: Sequence[str], size: tuple[int, int]) -> "Tensor":
        """Return the regions of some labels at a size (width, height), (1, R, H, W) in [0, 1]; 0 for those missing."""
        import torch

        empty = np.zeros((1, 1))
        regions = (Image.fromarray(self.shares.get(label, empty).astype(np.float32)) for label in labels)
        resized = [np.asarray(region.resize(size, Image.Resampling.BOX)) for region in regions]
        return torch.from_numpy(np.stack(resized)).clamp(0, 1).unsqueeze(0)

    def check_shape(self, option: str, size: tuple[int, int]) -> None:
        """Check that the mask has the shape of its image of this size (width, height).

        Raises:
            InputError: it has another one.
        """
        height, width = next(iter(self.shares.values())).shape
        if self.path and abs(width / height * size[1] / size[0] - 1) > SHAPE_TOLERANCE:
            raise InputError(
                f"{option}: {self.path} is {width}x{height} px; a mask has the shape of its image, {size[0]}x{size[1]}"
            )


def read_mask(option: str, path: Path, max_megapixels: float = 100.0) -> Mask:
    """Read a mask file.

    Each grey value, or colour, is the label of a region. A grey mask with more than `MOST_LABELS` values, or with black
    and white and hardly any grey, has two regions, 255 (white) and 0 (black); a grey pixel belongs to both in parts.
    Transparent pixels are black.

    Raises:
        InputError: as `open_image`, or it has too many colours.
    """
    with open_image(path, max_megapixels) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
        deep = image.mode.startswith("I")
        if image.has_transparency_data and not deep:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
        values = np.asarray(image if deep else image.convert("RGB"))
    if values.ndim == 3:
        grey = (values == values[..., :1]).all()
        values = values[..., 0] if grey else values.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1])
    else:
        grey = True
    # of a grey image its values; of a coloured one 0xRRGGBB
    labels, white = np.unique(values), 65535 if deep else 255
    greys = np.count_nonzero((values > 0) & (values < white))
    edges = grey and len(labels) > 2 and labels[0] == 0 and labels[-1] == white and greys < LEAST_AREA * values.size
    if len(labels) <= MOST_LABELS and not edges:
        return Mask({_name(label, grey, white): values == label for label in labels.tolist()}, path)
    if not grey:
        raise InputError(f"{option}: {path} has {len(labels)} colours; a label image has at most {MOST_LABELS}")
    shares = (values / white).clip(0, 1).astype(np.float32)
    return Mask({"0": 1 - shares, WHITE: shares}, path)


def _name(value: int, grey: bool, white: int) -> str:
    """Return a label: a grey value, where white is 255 whatever the bits, or #rrggbb."""
    if grey:
        return WHITE if value == white else str(value)
    red, green, blue = value.to_bytes(3)
    return str(red) if red == green == blue else f"#{value:06x}"


def matched(content: Mask, styles: Mapping[str, Mask], keep: bool) -> list[str]:
    """Return the labels of the content's regions that a style has.

    Args:
        content: the content's mask.
        styles: those of the styles, by the option that names them.
        keep: other labels of the content are allowed.

    Raises:
        InputError: some region of the content has no style, or a style has no region of the content.
    """
    known = ", ".join(content.shares)
    for option, style in styles.items():
        if style.shares.keys().isdisjoint(content.shares):
            raise InputError(f"{option} has no region of content.mask: it has {', '.join(style.shares)}, not {known}")
    both = [label for label in content.shares if any(label in style.shares for style in styles.values())]
    alone = [label for label in content.shares if label not in both]
    if alone and not keep:
        have = "; ".join(f"{option} has {', '.join(style.shares)}" for option, style in styles.items())
        raise InputError(
            f"no style has the region {', '.join(alone)} of content.mask ({known}): {have}; keep_unmasked=true keeps "
            "the content's pixels there"
        )
    return both
