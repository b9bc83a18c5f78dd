"""The self-similarity term: which parts of the image are alike, against the content image."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, feature_maps
from src.ops.guides import joined as joined_guides
from src.ops.self_similarity import SelfSimilarity, distance_shares, pooled_rows, share_distance
from src.transfer.terms.base import Inputs, Measured, Term, TermValue


class SelfSimilarityTerm(Term):
    """Mean difference of the cosine distances between positions from the content image's; see `ops.self_similarity`.

    Args:
        tap: where features are compared.
    """

    name = "self_similarity"
    target_of = ("content",)
    target: tuple[SelfSimilarity, int]  # and the height of the feature map

    def __init__(self, tap: str) -> None:
        self.taps = (tap,)

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep the distances between the positions of the content image."""
        (tap,) = self.taps
        with torch.no_grad():
            features = feature_maps(encoder, inputs.content, self.taps, checkpointing)[tap]
            height = features.shape[2]
            pooled = self._pooled(tap, features, slice(0, height), height)
            weight = self._weight(height)
            self.target = SelfSimilarity.of(_mean(pooled, weight), weight), height

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the part of the averaged feature map that comes from these rows, (B, C, H', W')."""
        return {"pooled": self._pooled(tap, features, rows, self.target[1])}

    def _pooled(self, tap: str, features: Tensor, rows: slice, height: int) -> Tensor:
        guide = self.guide(tap, rows)
        return pooled_rows(features if guide is None else features * guide, height, rows)

    def _weight(self, height: int) -> Tensor | None:
        """Return the weights of the averaged positions, (1 or B, 1, H', W'); None: 1 everywhere."""
        guide = self.guides.get(self.taps[0])
        return None if guide is None else pooled_rows(guide, height, slice(0, height))

    def __call__(self, measured: Measured) -> TermValue:
        """Return the distance, in [0, 2]."""
        target, height = self.target
        weight = self._weight(height)
        pooled = _mean(measured.sums[self.taps[0]]["pooled"], weight)
        return TermValue(share_distance(distance_shares(pooled, target.shortest, weight), target.shares, weight))

    @classmethod
    def join(cls, terms: Sequence["SelfSimilarityTerm"]) -> "SelfSimilarityTerm":
        """Return the term of a batch."""
        joined = cls(terms[0].taps[0])
        joined.guides = joined_guides([term.guides for term in terms])
        targets = zip(*(term.target[0] for term in terms), strict=True)
        joined.target = SelfSimilarity(*map(torch.cat, targets)), terms[0].target[1]
        return joined


def _mean(pooled: Tensor, weight: Tensor | None) -> Tensor:
    return pooled if weight is None else pooled / weight.clamp_min(torch.finfo(pooled.dtype).eps)
