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
from src.transfer.terms.base import Inputs, Measured, Term, TermValue


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
    def kept_bytes(cls, tap: TapInfo, pixels: int, style_pixels: int) -> float:
        """Estimate the bytes that the term keeps for a tap of an image and a style of so many pixels, beyond sums."""
        return 0.0

    @abstractmethod
    def measure_style(self, encoder: Encoder, image: Tensor, checkpointing: Checkpointing) -> dict[str, Any]:
        """Return by tap what is kept of a style image (1, 3, H, W)."""

    @staticmethod
    @abstractmethod
    def mix(parts: Sequence[Any], shares: Sequence[float]) -> Any:
        """Return the target of a mixture of style images at one tap; the shares sum to 1."""

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep what is measured of the style images at every tap."""
        with torch.no_grad():
            found = [self.measure_style(encoder, style.image, checkpointing) for style in inputs.styles]
            shares = [style.weight for style in inputs.styles]
            self.target = {
                tap: self.mix([each[tap] for each in found], shares) if len(found) > 1 else found[0][tap]
                for tap in self.taps
            }

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
        joined.weights = {
            tap: torch.stack([torch.as_tensor(term.weights[tap]) for term in terms]) for tap in joined.taps
        }
        joined.target = {tap: cls.join_targets([term.target[tap] for term in terms]) for tap in joined.taps}
        return joined

    @staticmethod
    def join_targets(targets: Sequence[Any]) -> Any:
        """Return the target of a batch at one tap."""
        return torch.cat(list(targets))


def join_searches(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the search results of a batch; those that a sample lacks are left out, and searched anew."""
    common = [name for name in states[0] if all(name in state for state in states)]
    return {name: torch.cat([state[name] for state in states]) for name in common}
