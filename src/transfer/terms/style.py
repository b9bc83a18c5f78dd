"""Style terms that compare means and second moments of features with the style image's (eq. 4 and 5)."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, accumulate
from src.ops.gram import FeatureStatistics, moment_sums
from src.ops.losses import LossForm, style_mean_std, style_moments, style_normalized
from src.transfer.terms.base import Measured
from src.transfer.terms.layers import Guides, LayerTerm


class StatisticsTerm(LayerTerm):
    """sum_l w_l E_l with E_l a function of Gram matrix, mean and covariance of the features.

    Subclasses set `compare`: the image's statistics and the target to E_l, (B,).
    """

    masks = True
    compare: Callable[[FeatureStatistics, Any], Tensor]

    def measure_style(
        self, encoder: Encoder, image: Tensor, guides: Guides, checkpointing: Checkpointing
    ) -> dict[str, FeatureStatistics]:
        """Return the statistics of a style image at every tap."""
        return statistics(encoder, image, list(guides), checkpointing, guides)

    @staticmethod
    def mix(parts: Sequence[FeatureStatistics], shares: Sequence[float]) -> FeatureStatistics:
        """Return the statistics of the mixture at one tap."""
        return FeatureStatistics.mixture(parts, shares)

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the Gram matrix, (B, C, C), and the sum of each channel, (B, C)."""
        gram, total = moment_sums(features, self.guide(tap, rows))
        return {"gram": gram, "total": total}

    def distance(self, tap: str, measured: Measured) -> Tensor:
        """Return E_l at one tap."""
        sums = measured.sums[tap]
        mine = FeatureStatistics.from_sums(sums["gram"], sums["total"], measured.positions[tap])
        return self.compare(mine, self.target[tap])

    @staticmethod
    def join_targets(targets: Sequence[Any]) -> Any:
        """Return the statistics of a batch at one tap."""
        return targets[0].joined(targets)


class StyleTerm(StatisticsTerm):
    """The statistics that a loss form compares.

    Args:
        weights: w_l by tap.
        form: gives E_l.
    """

    name = "style"

    def __init__(self, weights: Mapping[str, float | Tensor], form: LossForm) -> None:
        super().__init__(weights)
        self.compare = form.style


class GramTerm(StatisticsTerm):
    """Relative squared error of the Gram matrices per position (Gatys et al. 2016)."""

    name = "gram"
    compare = staticmethod(style_normalized)


class MomentsTerm(StatisticsTerm):
    """Relative squared errors of covariances and means, half each (Li et al. 2017)."""

    name = "moments"
    compare = staticmethod(style_moments)


class MeanStdTerm(StatisticsTerm):
    """Relative squared errors of means and standard deviations, half each (Huang and Belongie 2017)."""

    name = "mean_std"
    compare = staticmethod(style_mean_std)


def statistics(
    encoder: Encoder, image: Tensor, taps: Sequence[str], checkpointing: Checkpointing, guides: Guides | None = None
) -> dict[str, FeatureStatistics]:
    """Return the statistics of images (B, 3, H, W) in [0, 1] at taps; `guides` as in `LayerTerm.measure_style`."""

    def read(tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        weight = (guides or {}).get(tap)
        sums = moment_sums(features, None if weight is None else weight[:, :, rows])
        return dict(zip(("gram", "total"), sums, strict=True))

    sums = accumulate(encoder, image, taps, read, checkpointing)
    positions = {tap: math.prod(encoder.feature_size(image.shape[2:], tap)) for tap in taps}
    return {tap: FeatureStatistics.from_sums(**sums[tap], positions=positions[tap]) for tap in taps}
