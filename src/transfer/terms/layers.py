"""What the style terms have in common: a weighted sum over taps of a distance to the style image."""

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from src.config.schema import RunConfig
from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.encoders.registry import TapInfo
from src.ops.guides import joined as joined_guides
from src.transfer.terms.base import Inputs, Measured, Term, TermValue, tap_guides

Guides = Mapping[str, Tensor | None]


class LayerTerm(Term):
    """sum_l w_l E_l with a distance E_l at each tap.

    Subclasses measure a style image in `measure_style`, mix what they keep of several in `mix`, and compute E_l from it
    in `distance`.

    Args:
        weights: w_l by tap; tensors on the device of the images where terms are joined to a batch there.
    """

    target_of = ("style",)
    target: dict[str, Any]

    def __init__(self, weights: Mapping[str, float | Tensor]) -> None:
        self.weights = dict(weights)
        self.taps = tuple(weights)

    @classmethod
    def build(cls, weights: Mapping[str, float | Tensor], config: RunConfig) -> Self:
        """Return the term as `loss.terms` names it; overridden where it depends on other options."""
        return cls(weights)

    @classmethod
    def kept_values(cls, tap: TapInfo, pixels: int, style_pixels: int) -> float:
        """Estimate how many numbers the term keeps for a tap of an image and a style of so many pixels, beyond sums."""
        return 0.0

    @abstractmethod
    def measure_style(
        self, encoder: Encoder, image: Tensor, guides: Guides, checkpointing: Checkpointing
    ) -> dict[str, Any]:
        """Return by tap what is kept of a style image (1, 3, H, W).

        Args:
            encoder: has the taps.
            image: the style.
            guides: by tap to measure at, the weights of its positions, (1, 1, h, w) of mean 1; None: 1 everywhere. Only
                terms with `masks` get weights.
            checkpointing: what is recomputed.
        """

    @staticmethod
    @abstractmethod
    def mix(parts: Sequence[Any], shares: Sequence[float]) -> Any:
        """Return the target of a mixture of style images at one tap; the shares sum to 1."""

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep what is measured of the style images at every tap, without taps where all styles are masked out."""
        parts: dict[str, list[tuple[Any, float]]] = {tap: [] for tap in self.taps}
        with torch.no_grad():
            for style in inputs.styles:
                guides: Guides = dict.fromkeys(self.taps)
                if style.mask is not None:
                    guides = tap_guides(encoder, self.taps, style.mask, inputs.guides)
                for tap, found in self.measure_style(encoder, style.image, guides, checkpointing).items():
                    parts[tap].append((found, style.weight))
            self.target = {tap: self._mixed(each) for tap, each in parts.items() if each}

    def _mixed(self, parts: Sequence[tuple[Any, float]]) -> Any:
        """Return the target of a mixture at one tap, of parts and their weights."""
        if len(parts) == 1:
            return parts[0][0]
        whole = sum(weight for _, weight in parts)
        return self.mix([part for part, _ in parts], [weight / whole for _, weight in parts])

    def keep_taps(self, taps: Sequence[str]) -> None:
        """Leave out all other taps."""
        self.taps = tuple(taps)
        self.weights = {tap: self.weights[tap] for tap in taps}

    @abstractmethod
    def distance(self, tap: str, measured: Measured) -> Tensor:
        """Return E_l at one tap, (B,)."""

    def __call__(self, measured: Measured) -> TermValue:
        """Return the weighted sum and E_l by tap."""
        parts = {tap: self.distance(tap, measured) for tap in self.taps}
        return TermValue(torch.stack([weight * parts[tap] for tap, weight in self.weights.items()]).sum(0), parts)

    @classmethod
    def join(cls, terms: Sequence[Self]) -> Self:
        """Return the term of a batch."""
        joined = copy.copy(terms[0])
        assert all(term.taps == joined.taps for term in terms), "samples of a batch read the same taps"
        joined.weights = {
            tap: torch.stack([torch.as_tensor(term.weights[tap]) for term in terms]) for tap in joined.taps
        }
        joined.target = {tap: cls.join_targets([term.target[tap] for term in terms]) for tap in joined.taps}
        joined.guides = joined_guides([term.guides for term in terms])
        return joined

    @staticmethod
    def join_targets(targets: Sequence[Any]) -> Any:
        """Return the target of a batch at one tap."""
        return torch.cat(list(targets))


class SearchingTerm(LayerTerm):
    """A layer term that compares with what a search found for the image, which is kept for some steps.

    Subclasses search in `prepare` where `found` has no result for a tap.

    Attributes:
        found: results of the search by name, (B, ...) each, for a checkpoint.
        prepared: by tap, what is computed from them.
    """

    def __init__(self, weights: Mapping[str, float | Tensor]) -> None:
        super().__init__(weights)
        self.found: dict[str, Tensor] = {}
        self.prepared: dict[str, Any] = {}

    @abstractmethod
    def prepare(self, tap: str, features: Tensor) -> Any:
        """Return what `read` and `distance` compare with, given features (B, C, H, W) of the present image."""

    @property
    def pending_taps(self) -> tuple[str, ...]:
        """Return the taps that nothing is prepared for."""
        return tuple(tap for tap in self.taps if tap not in self.prepared)

    @torch.no_grad()
    def search(self, maps: Mapping[str, Tensor]) -> None:
        """Search where there are no results, and prepare the taps."""
        for tap, features in maps.items():
            self.prepared[tap] = self.prepare(tap, features)

    def search_state(self) -> dict[str, Tensor]:
        """Return the results of the search."""
        return dict(self.found)

    def load_search_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the results of a search; search anew where there are none."""
        self.found, self.prepared = dict(state), {}

    @classmethod
    def join(cls, terms: Sequence[Self]) -> Self:
        """Return the term of a batch; results that a sample lacks are searched anew."""
        joined = super().join(terms)
        first, *others = (term.found for term in terms)
        common = [name for name in first if all(name in found for found in others)]
        joined.load_search_state({name: torch.cat([term.found[name] for term in terms]) for name in common})
        return joined
