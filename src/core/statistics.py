"""Statistics of feature maps."""

from torch import Tensor


def gram_matrix(features: Tensor) -> Tensor:
    """Return the Gram matrix of each sample, not normalised.

    G_ij = sum_k F_ik F_jk (Gatys et al. 2016, eq. 3), with F the N filters x M positions of one layer. Every
    caller divides by what its own loss asks for, so the scale is always visible where it is used.

    Args:
        features: (B, N, H, W) activations.

    Returns:
        (B, N, N).
    """
    flat = features.flatten(2)
    return flat @ flat.mT


def channel_means(features: Tensor) -> Tensor:
    """Return the mean of each channel: (B, N, H, W) to (B, N)."""
    return features.flatten(2).mean(2)


def positions(features: Tensor) -> int:
    """Return M, the number of positions (height x width) of a feature map (B, N, H, W)."""
    return features.shape[-2] * features.shape[-1]


def energy(values: Tensor) -> Tensor:
    """Return the sum of squares of each sample: (B, ...) to (B,)."""
    return values.flatten(1).square().sum(1)
