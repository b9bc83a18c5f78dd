"""The patch term: every 3 x 3 patch of features against the most similar patch of the style (Li and Wand 2016)."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, feature_maps
from src.ops.gram import at_least_float32, squared_distance
from src.ops.patches import JoinedPatches, StylePatches, grid_shape
from src.transfer.terms.base import Inputs, Measured, Term, TermValue


class PatchTerm(Term):
    """sum_l w_l D_l with D_l the distance to the assembled nearest patches, relative to the style's mean energy.

    Which patch is nearest is searched at the first evaluation and after `load_search_state({})`.

    Args:
        weights: w_l by tap.
    """

    name = "patches"
    blends = True
    target_of = ("style",)
    target: dict[str, StylePatches]

    def __init__(self, weights: Mapping[str, float | Tensor]) -> None:
        self.weights = weights
        self.taps = tuple(weights)
        self.nearest: dict[str, Tensor] = {}
        self.assembled: dict[str, Tensor] = {}

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep the patches of all styles at every tap."""
        maps = [feature_maps(encoder, style.image, self.taps, checkpointing) for style in inputs.styles]
        dtype, weights = encoder.compute_dtype or inputs.style.dtype, [style.weight for style in inputs.styles]
        self.target = {
            tap: StylePatches([at_least_float32(each.pop(tap)) for each in maps], dtype, weights) for tap in self.taps
        }

    @property
    def pending_taps(self) -> tuple[str, ...]:
        """Return the taps whose patches are to be searched or assembled."""
        return tuple(tap for tap in self.taps if tap not in self.assembled)

    @torch.no_grad()
    def search(self, maps: Mapping[str, Tensor]) -> None:
        """Find the nearest style patches where they are unknown, and assemble them to feature maps."""
        for tap, features in maps.items():
            patches = self.target[tap]
            if tap not in self.nearest:
                self.nearest[tap] = patches.nearest(at_least_float32(features))
            self.assembled[tap] = patches.assemble(self.nearest[tap], features)

    def search_state(self) -> dict[str, Tensor]:
        """Return the numbers of the nearest patches by tap, (B, L)."""
        return dict(self.nearest)

    def search_fits(self, state: Mapping[str, Tensor], sizes: Mapping[str, tuple[int, int]]) -> bool:
        """Return whether the numbers belong to patches of the style, one for each place of the feature maps."""
        return all(
            tap in self.taps
            and numbers.dtype == torch.int64
            and numbers.shape == (1, math.prod(grid_shape(torch.empty(sizes[tap], device="meta"))))
            and int(numbers.min()) >= 0
            and int(numbers.max()) < len(self.target[tap].patches)
            for tap, numbers in state.items()
        )

    def load_search_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the numbers of the nearest patches; search anew where there are none."""
        self.nearest, self.assembled = dict(state), {}

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the squared distance to the assembled patches, (B,)."""
        return {"distance": squared_distance(features, self.assembled[tap][:, :, rows])}

    def __call__(self, measured: Measured) -> TermValue:
        """Return the patch loss and D_l by tap."""
        parts = {
            tap: self.target[tap].relative(measured.sums[tap]["distance"], measured.positions[tap]) for tap in self.taps
        }
        return TermValue(torch.stack([weight * parts[tap] for tap, weight in self.weights.items()]).sum(0), parts)

    @classmethod
    def join(cls, terms: Sequence["PatchTerm"]) -> "PatchTerm":
        """Return the term of a batch."""
        first = terms[0]
        like = next(iter(first.target.values())).energy
        weights = {tap: like.new_tensor([term.weights[tap] for term in terms]) for tap in first.taps}
        joined = cls(weights)
        joined.target = {tap: JoinedPatches([term.target[tap] for term in terms]) for tap in first.taps}
        if all(len(term.nearest) == len(first.taps) for term in terms):
            joined.nearest = {tap: torch.cat([term.nearest[tap] for term in terms]) for tap in first.taps}
        return joined
