"""Squared Wasserstein distance of order 2 between Gaussian distributions of features (Bures distance of covariances).

|mu - mu'|^2 + tr S + tr S' - 2 tr (S'^1/2 S S'^1/2)^1/2, with means mu, mu' and covariances S, S' (Dowson and Landau
1982, "The Frechet distance between multivariate normal distributions", eq. 4). crowsonkb's style-transfer-pytorch made
it known as a style loss.

The gradient of the last trace in S is S'^1/2 A^-1/2 S'^1/2 / 2 with A = S'^1/2 S S'^1/2. This form divides by no
difference of eigenvalues, as the gradient of an eigendecomposition does, and needs no iteration that may diverge. Both
covariances are raised by a multiple of the identity, which bounds A^-1/2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.ops.gram import EPSILON, FeatureStatistics, energy
from src.ops.losses import LEAST_VARIANCE


@dataclass(frozen=True)
class GaussianTarget:
    """A style's Gaussian distribution of features at one layer.

    Attributes:
        mean: (B, N).
        least: (B,), what is added to the eigenvalues of both covariances.
        trace: (B,), of the covariance S' so raised.
        root: (B, N, N), its square root, in float64.
        energy: (B,), mean square of a position: |mu'|^2 + tr S'.
    """

    mean: Tensor
    least: Tensor
    trace: Tensor
    root: Tensor
    energy: Tensor

    @classmethod
    def of(cls, statistics: FeatureStatistics, least: float | None = None) -> "GaussianTarget":
        """Compute the target from a style's statistics.

        Args:
            statistics: Gram matrix, mean and covariance.
            least: what is added to the eigenvalues; None is `LEAST_VARIANCE` of the mean square of a channel.
        """
        mean, covariance = statistics.mean, statistics.covariance
        mean_square = energy(mean) + _trace(covariance)
        raised = (LEAST_VARIANCE * mean_square / mean.shape[1]).clamp_min(EPSILON)
        raised = raised if least is None else torch.full_like(raised, least)
        values, vectors = torch.linalg.eigh(_wide(covariance))
        values = values.clamp_min(0) + _wide(raised).unsqueeze(1)
        root = (vectors * values.sqrt().unsqueeze(1)) @ vectors.mT
        return cls(mean, raised, values.sum(1).to(mean), root, mean_square.clamp_min(EPSILON))

    @classmethod
    def joined(cls, samples: "Sequence[GaussianTarget]") -> "GaussianTarget":
        """Concatenate the targets of several samples along the batch."""
        names = ("mean", "least", "trace", "root", "energy")
        return cls(*(torch.cat([getattr(each, name) for each in samples]) for name in names))


def wasserstein(image: FeatureStatistics, target: GaussianTarget) -> Tensor:
    """Compute the squared distance relative to the target's mean square, (B,): 1 for features of zero."""
    return _squared_distance(image, target) / target.energy


def absolute_wasserstein(image: FeatureStatistics, target: GaussianTarget) -> Tensor:
    """Compute the squared distance per channel, (B,)."""
    return _squared_distance(image, target) / image.mean.shape[1]


def _squared_distance(image: FeatureStatistics, target: GaussianTarget) -> Tensor:
    channels = image.mean.shape[1]
    fidelity, _ = torch.ops.style.fidelity(image.covariance, target.root, target.least)
    covariance = _trace(image.covariance) + channels * target.least + target.trace - 2 * fidelity
    return energy(image.mean - target.mean) + covariance


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=1, dim2=2).sum(1)


def _wide(values: Tensor) -> Tensor:
    """Convert to float64, on the CPU where the device has none; in float32 the small eigenvalues of A are noise."""
    return (values.cpu() if values.device.type == "mps" else values).double()


# An operator of its own, because CUDA graphs cannot record an eigendecomposition.
@torch.library.custom_op("style::fidelity", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,))
def _fidelity(covariance: Tensor, root: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Return tr (R (S + least I) R)^1/2, (B,), and its gradient in S, (B, N, N)."""
    floor = _wide(least).unsqueeze(1)
    values, vectors = torch.linalg.eigh(root @ _wide(covariance) @ root + floor.unsqueeze(2) * (root @ root))
    roots = values.clamp_min(0).sqrt().clamp_min(floor)  # exact arithmetic gives no smaller one
    moved = root @ vectors
    gradient = 0.5 * (moved / roots.unsqueeze(1)) @ moved.mT
    return roots.sum(1).to(covariance), gradient.to(covariance)


@_fidelity.register_fake
def _(covariance: Tensor, root: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    return covariance.new_empty(len(covariance)), covariance.new_empty(covariance.shape)


def _save_gradient(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
    (inner,) = ctx.saved_tensors
    return gradient.view(-1, 1, 1) * inner, None, None


_fidelity.register_autograd(_backward, setup_context=_save_gradient)
