"""Statistics of feature maps."""

from torch import Tensor

from src.ops.gram import FeatureStatistics, moment_sums, positions


def statistics_of(features: Tensor) -> FeatureStatistics:
    """Measure features (B, N, H, W)."""
    return FeatureStatistics.from_sums(*moment_sums(features), positions(features))
