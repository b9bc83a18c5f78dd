"""The style term: statistics of features against the style image's (eq. 4 and 5)."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, accumulate
from src.ops.gram import FeatureStatistics, moment_sums
from src.ops.losses import LossForm
from src.transfer.terms.base import Inputs, Measured, Term, TermValue


class StyleTerm(Term):
    """sum_l w_l E_l with E_l the loss form's distance of Gram matrices or of means and covariances.

    Args:
        weights: w_l by tap.
        form: gives E_l.
    """

    name = "style"
    blends = True
    target_of = ("style",)
    target: dict[str, FeatureStatistics]

    def __init__(self, weights: Mapping[str, float | Tensor], form: LossForm) -> None:
        self.weights = weights
        self.taps = tuple(weights)
        self.form = form

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep the statistics of the styles at every tap."""
        with torch.no_grad():
            self.target = mixture(encoder, inputs, self.taps, checkpointing)

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the Gram matrix, (B, C, C), and the sum of each channel, (B, C)."""
        gram, total = moment_sums(features)
        return {"gram": gram, "total": total}

    def __call__(self, measured: Measured) -> TermValue:
        """Return the style loss and E_l by tap."""
        parts = {}
        for tap in self.taps:
            sums = measured.sums[tap]
            mine = FeatureStatistics.from_sums(sums["gram"], sums["total"], measured.positions[tap])
            parts[tap] = self.form.style(mine, self.target[tap])
        return TermValue(torch.stack([weight * parts[tap] for tap, weight in self.weights.items()]).sum(0), parts)

    @classmethod
    def join(cls, terms: Sequence["StyleTerm"]) -> "StyleTerm":
        """Return the term of a batch."""
        joined = cls(join_weights([term.weights for term in terms], terms[0].target), terms[0].form)
        joined.target = {tap: FeatureStatistics.joined([term.target[tap] for term in terms]) for tap in joined.taps}
        return joined


def statistics(
    encoder: Encoder, image: Tensor, taps: Sequence[str], checkpointing: Checkpointing
) -> dict[str, FeatureStatistics]:
    """Return the statistics of images (B, 3, H, W) in [0, 1] at taps."""

    def read(tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        return dict(zip(("gram", "total"), moment_sums(features), strict=True))

    sums = accumulate(encoder, image, taps, read, checkpointing)
    positions = {tap: math.prod(encoder.feature_size(image.shape[2:], tap)) for tap in taps}
    return {tap: FeatureStatistics.from_sums(**sums[tap], positions=positions[tap]) for tap in taps}


def mixture(
    encoder: Encoder, inputs: Inputs, taps: Sequence[str], checkpointing: Checkpointing
) -> dict[str, FeatureStatistics]:
    """Return the statistics of the mixture of a run's styles at taps."""
    found = [statistics(encoder, style.image, taps, checkpointing) for style in inputs.styles]
    weights = [style.weight for style in inputs.styles]
    return {tap: FeatureStatistics.mixture([each[tap] for each in found], weights) for tap in taps}


def join_weights(
    weights: Sequence[Mapping[str, float | Tensor]], like: Mapping[str, FeatureStatistics]
) -> dict[str, Tensor]:
    """Return the layer weights of a batch, (B,) by tap."""
    device = next(iter(like.values())).gram
    return {tap: device.new_tensor([each[tap] for each in weights]) for tap in weights[0]}
