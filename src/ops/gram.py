"""Gram matrices, channel means and squared distances of feature maps.

All of them are sums over positions, so the sums of an image's parts (bands of rows, say) add up to those of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Smallest denominator of a relative loss: a black image through a network without biases has features of zero energy.
EPSILON = 1e-12


@dataclass(frozen=True)
class FeatureStatistics:
    """Gram matrix, mean and covariance of the channels of one layer: all that the style losses read.

    Attributes:
        gram: (B, N, N), the sum over positions, not normalised.
        mean: (B, N), mean of each channel.
        covariance: (B, N, N), of the channels over the positions.
        positions: M, the number of positions summed over; (B, 1, 1) where samples differ in it.
    """

    gram: Tensor
    mean: Tensor
    covariance: Tensor
    positions: float | Tensor

    @classmethod
    def from_sums(cls, gram: Tensor, total: Tensor, positions: float) -> "FeatureStatistics":
        """Compute the statistics from the sums over M positions that `moment_sums` returns."""
        mean = total / positions
        return cls(gram, mean, gram / positions - mean.unsqueeze(2) * mean.unsqueeze(1), positions)

    @classmethod
    def mixture(cls, parts: "Sequence[FeatureStatistics]", weights: Sequence[float]) -> "FeatureStatistics":
        """Return the statistics of a mixture: of a position that belongs to part s with probability weights[s].

        Means and second moments are linear in the distribution; the covariance, which is not, is computed from them.
        """
        second = torch.stack([weight * part.gram / part.positions for part, weight in zip(parts, weights, strict=True)])
        mean = torch.stack([weight * part.mean for part, weight in zip(parts, weights, strict=True)])
        count: Any = sum(weight * part.positions for part, weight in zip(parts, weights, strict=True))
        return cls.from_sums(second.sum(0) * count, mean.sum(0) * count, count)

    @classmethod
    def joined(cls, samples: "Sequence[FeatureStatistics]") -> "FeatureStatistics":
        """Concatenate the statistics of several samples along the batch."""
        gram, mean, covariance = (
            torch.cat([getattr(each, name) for each in samples]) for name in ("gram", "mean", "covariance")
        )
        counts = torch.cat([torch.as_tensor(each.positions).view(-1, 1, 1).to(gram) for each in samples])
        return cls(gram, mean, covariance, counts)


def moment_sums(features: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute the Gram matrix, (B, N, N), and the sum of each channel, (B, N), of features (B, N, H, W).

    G_ij = sum_k F_ik F_jk (Gatys et al. 2016, eq. 3), with F the N filters x M positions of one layer. Neither result
    is normalised: each loss divides by what its own formula states. bfloat16 features are summed in float32.

    Args:
        features: (B, N, H, W).
        weight: of each position in both sums, (1 or B, 1, H, W); None: 1 everywhere.
    """
    return _MomentSums.apply(features, weight)


class _MomentSums(torch.autograd.Function):
    """F F^T and F 1, with the gradient (G' + G'^T) F + s' 1^T computed as one product.

    Autograd would compute two products and add three tensors of the size of F. The gradient has the dtype and memory
    layout of F, and F is saved in that dtype alone. With weights W of the positions the sums are F W F^T and F W 1,
    and the gradient is multiplied by W.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features, weight)
        wide = at_least_float32(features.flatten(2))
        weighted = wide if weight is None else wide * weight.flatten(2)
        return weighted @ wide.mT, weighted.sum(2)

    @staticmethod
    def backward(ctx: Any, gram: Tensor, total: Tensor) -> tuple[Tensor, None]:
        features, weight = ctx.saved_tensors
        symmetric, total = (gram + gram.mT).to(features.dtype), total.to(features.dtype)
        last = features.is_contiguous(memory_format=torch.channels_last)
        # A tensor, not a view of the product: only then does autograd add the gradients of other readers in place.
        layout = torch.channels_last if last else torch.contiguous_format
        result = torch.empty_like(features, memory_format=layout)
        flat, out = features.flatten(2), result.view(*result.shape[:2], -1)
        if last:
            torch.baddbmm(total.unsqueeze(1), flat.mT, symmetric, out=out.mT)
        else:
            torch.baddbmm(total.unsqueeze(2), symmetric, flat, out=out)
        return result if weight is None else result.mul_(weight), None


def at_least_float32(features: Tensor) -> Tensor:
    """Convert bfloat16 features to float32, which sums over positions need; leave other dtypes as they are."""
    return features.float() if features.dtype == torch.bfloat16 else features


def positions(features: Tensor) -> int:
    """Return M, the number of positions (height x width) of a feature map (B, N, H, W)."""
    return features.shape[-2] * features.shape[-1]


def weighted_mean(features: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the mean of each channel, (B, N, H, W) to (B, N), with weights (1 or B, 1, H, W) of mean 1."""
    return (features if weight is None else features * weight).mean((2, 3))


def energy(values: Tensor) -> Tensor:
    """Compute the sum of squares of each sample: (B, ...) to (B,)."""
    return values.flatten(1).square().sum(1)


def squared_distance(features: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the sum of squared differences of each sample, (B, N, H, W) to (B,); differentiable in `features`.

    Args:
        features: (B, N, H, W).
        target: (B, N, H, W).
        weight: of each position in the sum, (1 or B, 1, H, W); None: 1 everywhere.
    """
    return _SquaredDistance.apply(features, target, weight)


class _SquaredDistance(torch.autograd.Function):
    """sum (F - P)^2 with its gradient 2 (F - P). Autograd would save the difference: one more tensor of that size."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        ctx.save_for_backward(features, target, weight)
        difference = features - target
        return energy(difference) if weight is None else (difference.square() * weight).flatten(1).sum(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        features, target, weight = ctx.saved_tensors
        factor = 2 * gradient.view(-1, 1, 1, 1) if weight is None else 2 * gradient.view(-1, 1, 1, 1) * weight
        return (factor * (features - target)).to(features.dtype), None, None
