"""The nearest-column term: every feature column against the style column at the smallest angle."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from src.config.schema import RunConfig
from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, feature_maps
from src.encoders.registry import TapInfo
from src.ops.columns import MAX_COLUMNS, StyleColumns, unit_columns
from src.ops.gram import at_least_float32, squared_distance, weighted_mean
from src.transfer.terms.base import Measured
from src.transfer.terms.layers import Guides, SearchingTerm

MEAN = "{}/mean"  # entry of the search's results for a tap


class Assembled(NamedTuple):
    """The nearest style columns of a tap, (B, C, H, W), and the length that shorter columns are divided by, (B,)."""

    columns: Tensor
    shortest: Tensor


class NearestTerm(SearchingTerm):
    """Mean centred cosine distance of all columns to their nearest style columns; see `ops.columns`.

    Which column is nearest, and the image's mean, are found at the first evaluation and after `load_search_state({})`.
    The distance is half the squared distance of the columns at length 1, which is 1 less the cosine.

    Args:
        weights: w_l by tap.
        capacity: largest number of uses of a style column, relative to equal use of all; None for no limit.
    """

    name = "nearest"
    masks = True
    target: dict[str, list[StyleColumns]]

    def __init__(self, weights: Mapping[str, float | Tensor], capacity: float | None = None) -> None:
        super().__init__(weights)
        self.capacity = capacity

    @classmethod
    def build(cls, weights: Mapping[str, float | Tensor], config: RunConfig) -> "NearestTerm":
        """Return the term with the limit of `loss.capacity`."""
        return cls(weights, config.loss.capacity)

    @classmethod
    def kept_values(cls, tap: TapInfo, pixels: int, style_pixels: int) -> float:
        """Count the style's columns, the assembled columns, and those of the image that the gradient keeps."""
        columns = min(MAX_COLUMNS, style_pixels // tap.stride**2) + 3 * (pixels // tap.stride**2)
        return float(tap.channels * columns)

    def measure_style(
        self, encoder: Encoder, image: Tensor, guides: Guides, checkpointing: Checkpointing
    ) -> dict[str, list[StyleColumns]]:
        """Return the columns of a style image at every tap."""
        maps = feature_maps(encoder, image, guides, checkpointing)
        dtype = encoder.compute_dtype or image.dtype
        return {tap: [StyleColumns(maps.pop(tap), dtype, weight)] for tap, weight in guides.items()}

    @staticmethod
    def mix(parts: Sequence[list[StyleColumns]], shares: Sequence[float]) -> list[StyleColumns]:
        """Return the columns of all style images at one tap; shares do not change which one is nearest."""
        return [StyleColumns.mixed([columns for (columns,) in parts])]

    def prepare(self, tap: str, features: Tensor) -> Assembled:
        """Return the nearest style columns as feature maps; `found` has their numbers and the image's mean."""
        styles = self.target[tap] * (len(features) // len(self.target[tap]))  # one style may serve all samples
        shortest = torch.cat([style.shortest for style in styles])
        if tap not in self.found:
            mean = weighted_mean(at_least_float32(features), self.guides.get(tap))
            self.found[MEAN.format(tap)] = mean
            columns = _centred(features, mean, shortest).split(1)
            self.found[tap] = torch.cat(
                [style.nearest(each, self.capacity) for style, each in zip(styles, columns, strict=True)]
            )
        indices = self.found[tap].split(1)
        columns = [style.assemble(each, features) for style, each in zip(styles, indices, strict=True)]
        return Assembled(torch.cat(columns), shortest)

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return half the squared distance to the assembled columns, (B,)."""
        assembled: Assembled = self.prepared[tap]
        columns = _centred(features, self.found[MEAN.format(tap)], assembled.shortest)
        return {"distance": squared_distance(columns, assembled.columns[:, :, rows], self.guide(tap, rows)) / 2}

    def distance(self, tap: str, measured: Measured) -> Tensor:
        """Return the mean distance at one tap."""
        return measured.sums[tap]["distance"] / measured.positions[tap]

    @staticmethod
    def join_targets(targets: Sequence[Any]) -> list[StyleColumns]:
        """Return the columns of all styles at one tap."""
        return [columns for each in targets for columns in each]


def _centred(features: Tensor, mean: Tensor, shortest: Tensor) -> Tensor:
    return unit_columns(at_least_float32(features) - mean[..., None, None], shortest)
