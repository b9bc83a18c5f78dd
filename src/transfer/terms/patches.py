"""The patch term: every 3 x 3 patch of features against the most similar patch of the style (Li and Wand 2016)."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, feature_maps
from src.encoders.registry import TapInfo
from src.ops.gram import at_least_float32, squared_distance
from src.ops.patches import MAX_PATCHES, PATCH_SIZE, JoinedPatches, StylePatches
from src.transfer.terms.base import Measured
from src.transfer.terms.layers import Guides, SearchingTerm


class PatchTerm(SearchingTerm):
    """sum_l w_l D_l with D_l the distance to the assembled nearest patches, relative to the style's mean energy.

    Which patch is nearest is searched at the first evaluation and after `load_search_state({})`.

    Args:
        weights: w_l by tap.
    """

    name = "patches"
    masks = True
    target: dict[str, StylePatches]

    @classmethod
    def kept_values(cls, tap: TapInfo, pixels: int, style_pixels: int) -> float:
        """Count the style's patches, their directions, and the assembled feature map."""
        patches = min(MAX_PATCHES, style_pixels // tap.stride**2) * PATCH_SIZE**2
        return float(tap.channels * (2 * patches + pixels // tap.stride**2))

    def measure_style(
        self, encoder: Encoder, image: Tensor, guides: Guides, checkpointing: Checkpointing
    ) -> dict[str, StylePatches]:
        """Return the patches of a style image at every tap."""
        maps = feature_maps(encoder, image, guides, checkpointing)
        dtype = encoder.compute_dtype or image.dtype
        return {tap: StylePatches(at_least_float32(maps.pop(tap)), dtype, weight) for tap, weight in guides.items()}

    @staticmethod
    def mix(parts: Sequence[StylePatches], shares: Sequence[float]) -> StylePatches:
        """Return the patches of all style images at one tap; shares do not change which one is nearest."""
        return StylePatches.mixed(parts, shares)

    def prepare(self, tap: str, features: Tensor) -> Tensor:
        """Return the feature map (B, C, H, W) assembled from the nearest style patches; `found` has their numbers."""
        patches = self.target[tap]
        if tap not in self.found:
            self.found[tap] = patches.nearest(at_least_float32(features), self.guides.get(tap))
        return patches.assemble(self.found[tap], features)

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the squared distance to the assembled patches, (B,)."""
        return {"distance": squared_distance(features, self.prepared[tap][:, :, rows], self.guide(tap, rows))}

    def distance(self, tap: str, measured: Measured) -> Tensor:
        """Return D_l at one tap."""
        return self.target[tap].relative(measured.sums[tap]["distance"], measured.positions[tap])

    @staticmethod
    def join_targets(targets: Sequence[StylePatches]) -> StylePatches:
        """Return the patches of a batch at one tap."""
        return JoinedPatches(targets)
