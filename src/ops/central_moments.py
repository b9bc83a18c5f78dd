"""Central moment discrepancy of sigmoid features (Kalischek, Wegner and Schindler 2021, eq. 7).

"In the light of feature distributions: moment matching for neural style transfer". sum_k |c_k - c'_k| over the orders
k = 1 .. 5, with c_1 the means and c_k the central moments of each channel of the sigmoid of the features.

Central moments are computed from sums of powers, which add up over bands of rows. The powers are of the difference to
a fixed value near the mean, so that little is cancelled.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from src.ops.gram import EPSILON, at_least_float32

ORDERS = 5
BLANK = 0.5  # the sigmoid of zero


def power_sums(features: Tensor, centre: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the sums over positions of (sigmoid(F) - centre)^k, k = 1 .. 5.

    Args:
        features: (B, N, H, W).
        centre: (B, N).
        weight: of each position in the sums, (1 or B, 1, H, W); None: 1 everywhere.

    Returns:
        (B, 5, N).
    """
    values = at_least_float32(features).sigmoid().flatten(2) - centre.unsqueeze(2)
    powers = (values**order for order in range(1, ORDERS + 1))
    return torch.stack([(each if weight is None else each * weight.flatten(2)).sum(2) for each in powers], 1)


def central_moments(sums: Tensor, positions: int, centre: Tensor) -> Tensor:
    """Compute means and central moments, (B, 5, N), from what `power_sums` returns over so many positions."""
    first = sums[:, 0] / positions
    return torch.cat([(centre + first).unsqueeze(1), _shifted(sums / positions, -first)[:, 1:]], 1)


def mixed_moments(parts: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Return means and central moments of a mixture from those of its parts, (B, 5, N) each; the shares sum to 1."""
    mean = torch.stack([share * part[:, 0] for part, share in zip(parts, shares, strict=True)]).sum(0)
    about_own = [torch.cat([torch.zeros_like(part[:, :1]), part[:, 1:]], 1) for part in parts]
    about_mean = [_shifted(own, part[:, 0] - mean) for own, part in zip(about_own, parts, strict=True)]
    whole = torch.stack([share * moments for share, moments in zip(shares, about_mean, strict=True)]).sum(0)
    return torch.cat([mean.unsqueeze(1), whole[:, 1:]], 1)


def _shifted(moments: Tensor, shift: Tensor) -> Tensor:
    """Return E (x + s)^k of moments E x^k, k = 1 .. 5, (B, 5, N): sum_j (k choose j) E x^j s^(k - j)."""
    raw = [torch.ones_like(shift), *moments.unbind(1)]
    orders = [
        torch.stack([math.comb(order, j) * raw[j] * shift ** (order - j) for j in range(order + 1)]).sum(0)
        for order in range(1, ORDERS + 1)
    ]
    return torch.stack(orders, 1)


def moment_discrepancy(moments: Tensor, target: Tensor) -> Tensor:
    """Compute the discrepancy of moments (B, 5, N) relative to that of all-zero features, (B,)."""
    blank = torch.zeros_like(target)
    blank[:, 0] = BLANK
    return _sum_of_norms(moments - target) / _sum_of_norms(blank - target).clamp_min(EPSILON)


def _sum_of_norms(difference: Tensor) -> Tensor:
    return torch.linalg.vector_norm(difference, dim=2).sum(1)
