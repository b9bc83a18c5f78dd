"""Nearest feature columns by centred cosine distance (Kolkin, Kucera, Paris, Sykora, Shechtman and Shakhnarovich 2022).

"Neural neighbor style transfer": every column of the image's features (all channels at one position) is compared with
the column of the style's features at the smallest angle, each less the mean of its image. It is the loss of the
program's last pass, which matches each layer by itself.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from src.ops.gram import at_least_float32, weighted_mean
from src.ops.guides import hard_region
from src.ops.nearest import argmax_products, limited_argmax_products

# Most style columns to search; a larger style is sampled on a coarser grid, which bounds the cost.
MAX_COLUMNS = 16384
# Columns shorter than this part of the style's root mean square are not lengthened to 1: their direction is noise.
SHORTEST = 1e-2
SMALLEST = 1e-6  # length to divide by for a style of one colour


class StyleColumns:
    """The feature columns of a style image at one layer.

    Args:
        features: (1, C, H, W).
        dtype: of the search's products.
        weight: of each position, (1, 1, H, W) with a mean of 1: columns of less than half the largest one are left out.

    Attributes:
        directions: the columns less their mean, of length 1, (P, C).
        shortest: length that shorter columns are divided by, (1,).
    """

    def __init__(self, features: Tensor, dtype: torch.dtype, weight: Tensor | None = None) -> None:
        wide = at_least_float32(features)
        centred = wide - weighted_mean(wide, weight)[..., None, None]
        square = weighted_mean(centred.square(), weight).sum()
        self.shortest = (SHORTEST * square.sqrt()).clamp_min(SMALLEST).view(1)
        columns = unit_columns(centred, self.shortest)[0]
        if weight is not None:
            columns = columns[:, hard_region(weight)[0, 0]].unsqueeze(1)  # a single row
        stride = 1
        while math.prod(-(-side // stride) for side in columns.shape[1:]) > MAX_COLUMNS:
            stride += 1
        self.directions = columns[:, ::stride, ::stride].flatten(1).T.contiguous()
        self.dtype = dtype

    @classmethod
    def mixed(cls, parts: "Sequence[StyleColumns]") -> "StyleColumns":
        """Return the columns of several styles as those of one."""
        whole = copy.copy(parts[0])
        whole.shortest = torch.stack([part.shortest for part in parts]).amin(0)
        whole.directions = torch.cat([part.directions for part in parts])
        return whole

    def nearest(self, columns: Tensor, capacity: float | None = None) -> Tensor:
        """Find the style column with the largest product for columns (1, C, H, W) of length 1: indices, (1, H x W).

        With a capacity (at least 1), no style column is taken more often than that many times the number of uses that
        it would have if all were used equally, rounded up.
        """
        rows, directions = columns[0].flatten(1).T.to(self.dtype).contiguous(), self.directions.to(self.dtype)
        if capacity is None:
            return argmax_products(rows, directions).unsqueeze(0)
        most = math.ceil(capacity * len(rows) / len(directions))
        return limited_argmax_products(rows, directions, most).unsqueeze(0)

    def assemble(self, indices: Tensor, like: Tensor) -> Tensor:
        """Return the columns of indices (1, H x W) as a feature map, (1, C, H, W) as `like`."""
        return self.directions[indices[0]].T.view(1, -1, *like.shape[2:])


def unit_columns(centred: Tensor, shortest: Tensor) -> Tensor:
    """Divide the columns of (B, C, H, W) by their lengths; by `shortest`, (B,), where they are shorter."""
    length = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    return centred / length.clamp_min(shortest.view(-1, 1, 1, 1))
