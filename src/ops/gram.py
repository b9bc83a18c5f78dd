"""Statistics of feature maps."""

from typing import Any

import torch
from torch import Tensor

# A target of exactly zero energy (a black image through a network without biases) must not divide by zero.
TINY = 1e-12


def moment_sums(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Gram matrix, (B, N, N), and the sum of each channel, (B, N), of features (B, N, H, W).

    G_ij = sum_k F_ik F_jk (Gatys et al. 2016, eq. 3), with F the N filters x M positions of one layer, not normalised.
    Every caller divides by what its own loss asks for, so the scale is always visible where it is used. Both are sums
    over positions: those of an image's parts add up. Those of bfloat16 features are float32, and summed in it.
    """
    return _Moments.apply(features.flatten(2))


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Gram matrix, likewise, and the mean of each channel, (B, N)."""
    gram, total = moment_sums(features)
    return gram, total / positions(features)


class _Moments(torch.autograd.Function):
    """F F^T and F 1. The gradient in F is (G' + G'^T) F + s' 1^T: one product that is written once, where autograd
    takes two, of each half, and adds three tensors of the size of F. It is taken in the precision of F, in which the
    network goes on with it, and F is kept in no other.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(flat)
        wide = widened(flat)
        return wide @ wide.mT, wide.sum(2)

    @staticmethod
    def backward(ctx: Any, gram: Tensor, total: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        symmetric, total = (gram + gram.mT).to(flat.dtype), total.to(flat.dtype)
        if flat.stride(1) == 1:  # channels innermost: the gradient must lie as the features do, or adding it is slow
            return torch.baddbmm(total.unsqueeze(1), flat.mT, symmetric).mT
        return torch.baddbmm(total.unsqueeze(2), symmetric, flat)


def widened(features: Tensor) -> Tensor:
    """Return features in a precision that sums over positions can be taken in: bfloat16 ones as float32."""
    return features.float() if features.dtype == torch.bfloat16 else features


def positions(features: Tensor) -> int:
    """Return M, the number of positions (height x width) of a feature map (B, N, H, W)."""
    return features.shape[-2] * features.shape[-1]


def energy(values: Tensor) -> Tensor:
    """Return the sum of squares of each sample: (B, ...) to (B,)."""
    return values.flatten(1).square().sum(1)


def squared_distance(features: Tensor, target: Tensor) -> Tensor:
    """Return the sum of squared differences of each sample, (B, N, H, W) to (B,); differentiable in the features.

    Like a Gram matrix it is a sum over positions: those of an image's parts add up.
    """
    return _SquaredDistance.apply(features, target)


class _SquaredDistance(torch.autograd.Function):
    """sum (F - P)^2 with its gradient 2 (F - P): autograd would keep the difference, one more tensor of that size."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(features, target)
        return energy(features - target)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        features, target = ctx.saved_tensors
        return (2 * gradient.view(-1, 1, 1, 1) * (features - target)).to(features.dtype), None
