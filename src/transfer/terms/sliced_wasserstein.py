"""The sliced Wasserstein term: distributions of features against the style image's, along random directions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from src.config.schema import RunConfig
from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, feature_maps
from src.encoders.registry import TapInfo
from src.ops.slices import DIRECTIONS, project, random_directions, sliced_distance
from src.ops.sorting import quantiles
from src.transfer.terms.base import Measured
from src.transfer.terms.layers import Guides, SearchingTerm

# Features (1, C, H, W) of each style image of a run, its share, and the weights of its positions, (1, 1, H, W) or None.
Mixture = list[tuple[Tensor, float, Tensor | None]]


class Slices(NamedTuple):
    """Directions (B, C, D) of a tap, the style's quantiles along them, (B, D, N), and the height of the feature map."""

    directions: Tensor
    quantiles: Tensor
    height: int


class SlicedWassersteinTerm(SearchingTerm):
    """Sliced Wasserstein distance relative to the style's mean square; see `ops.slices`.

    Directions are drawn at the first evaluation and whenever `search_again` asks for others: between two draws the
    term is a fixed function of the image.

    Args:
        weights: w_l by tap.
        seeds: of the directions, one for each sample.
    """

    name = "sliced_wasserstein"
    masks = True
    target: dict[str, list[Mixture]]

    def __init__(self, weights: Mapping[str, float | Tensor], seeds: Sequence[int] = (0,)) -> None:
        super().__init__(weights)
        self.seeds = list(seeds)

    @classmethod
    def build(cls, weights: Mapping[str, float | Tensor], config: RunConfig) -> "SlicedWassersteinTerm":
        """Return the term with directions that depend on `seed`."""
        return cls(weights, [config.seed])

    @classmethod
    def kept_values(cls, tap: TapInfo, pixels: int, style_pixels: int) -> float:
        """Count the style's features, and the projections with their order, sorted values and quantiles."""
        directions = min(DIRECTIONS, tap.channels)
        return (tap.channels * style_pixels + 7 * directions * pixels) / tap.stride**2

    def measure_style(
        self, encoder: Encoder, image: Tensor, guides: Guides, checkpointing: Checkpointing
    ) -> dict[str, list[Mixture]]:
        """Return the features of a style image at every tap: other directions need them again."""
        maps = feature_maps(encoder, image, guides, checkpointing)
        return {tap: [[(maps.pop(tap), 1.0, weight)]] for tap, weight in guides.items()}

    @staticmethod
    def mix(parts: Sequence[list[Mixture]], shares: Sequence[float]) -> list[Mixture]:
        """Return the features of all style images at one tap."""
        return [[(features, share, weight) for (((features, _, weight),),), share in zip(parts, shares, strict=True)]]

    def prepare(self, tap: str, features: Tensor) -> Slices:
        """Return directions, and the style's quantiles along them; `found` has the numbers of the draws, (B, 1)."""
        height, width = features.shape[2:]
        draws = self.found.setdefault(tap, features.new_zeros(len(self.seeds), 1, dtype=torch.int64))
        own, found = [], []
        for seed, (draw,), styles in zip(self.seeds, draws.tolist(), self.target[tap], strict=True):
            drawn = random_directions(features.shape[1], (seed, draw, self.taps.index(tap)))
            own.append(drawn.to(features.device, torch.promote_types(features.dtype, torch.float32)).unsqueeze(0))
            parts = [project(style, own[-1]).flatten(2) for style, _, _ in styles]
            masses = [None if weight is None else weight.flatten(2) for _, _, weight in styles]
            found.append(quantiles(parts, [share for _, share, _ in styles], height * width, masses))
        return Slices(torch.cat(own), torch.cat(found), height)

    def search_again(self, step: int) -> None:
        """Draw the directions of a step at the next evaluation."""
        self.load_search_state({tap: torch.full_like(draws, step) for tap, draws in self.found.items()})

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the projections, (B, D, H, W), zero outside of the rows: their sum over bands is the whole map."""
        slices: Slices = self.prepared[tap]
        below = slices.height - rows.stop
        return {"projected": F.pad(project(features, slices.directions), (0, 0, rows.start, below))}

    def distance(self, tap: str, measured: Measured) -> Tensor:
        """Return the distance at one tap."""
        return sliced_distance(measured.sums[tap]["projected"], self.prepared[tap].quantiles, self.guides.get(tap))

    @classmethod
    def join(cls, terms: "Sequence[SlicedWassersteinTerm]") -> "SlicedWassersteinTerm":
        """Return the term of a batch."""
        joined = super().join(terms)
        joined.seeds = [seed for term in terms for seed in term.seeds]
        return joined

    @staticmethod
    def join_targets(targets: Sequence[Any]) -> list[Mixture]:
        """Return the features of all styles at one tap; they may differ in size."""
        return [features for each in targets for features in each]
