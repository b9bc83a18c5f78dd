"""Optical flow as tensors: warping, which of it to trust, and what a warped clip has left of flicker.

A flow (B, 2, H, W) holds displacements in px, horizontal first. Here it leads from the pixels of a frame to where the
same things are in another frame, mostly an earlier one: `warp` fetches the other frame's pixels from there.

Reliability follows Ruder, Dosovitskiy and Brox 2016, "Artistic style transfer for videos" (arXiv 1604.08610),
section 4.1, which takes it from Sundaram, Brox and Keutzer 2010.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Of the consistency check: share of the squared lengths, and px^2.
CONSISTENCY, TOLERANCE = 0.01, 0.5
# Of the edges of motion: share of the squared length, and squared px per px.
EDGE, LEAST_EDGE = 0.01, 0.002


def warp(image: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of an image at x + flow(x), bilinearly interpolated, and where that lies inside of the image.

    Args:
        image: (B, C, H, W).
        flow: (B, 2, H, W), px.

    Returns:
        (B, C, H, W), border values where the flow leads outside; and (B, 1, H, W), 1 inside and 0 outside.
    """
    height, width = image.shape[2:]
    rows = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None]
    columns = torch.arange(width, dtype=flow.dtype, device=flow.device)
    x, y = columns + flow[:, 0], rows + flow[:, 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    # By hand rather than grid_sample: normalised coordinates would move a still picture by their rounding.
    left, top = x.floor().clamp_max(max(width - 2, 0)), y.floor().clamp_max(max(height - 2, 0))
    across, down = (x - left)[:, None].to(image.dtype), (y - top)[:, None].to(image.dtype)
    first = (top * width + left).long()
    right, below = int(width > 1), width * int(height > 1)
    values = image.flatten(2)

    def at(offset: int) -> Tensor:
        index = (first + offset).flatten(1)[:, None].expand(-1, image.shape[1], -1)
        return values.gather(2, index).view_as(image)

    upper, lower = torch.lerp(at(0), at(right), across), torch.lerp(at(below), at(below + right), across)
    return torch.lerp(upper, lower, down), inside[:, None].to(image.dtype)


def consistent(flow: Tensor, opposite: Tensor) -> Tensor:
    """Return where two opposite flows agree, (B, 1, H, W) of 0 and 1: elsewhere something is hidden in one frame.

    With b the flow and f the opposite one where b leads, a pixel is hidden where
    |f + b|^2 >= 0.01 (|f|^2 + |b|^2) + 0.5, or where b leads outside.

    Args:
        flow: (B, 2, H, W) from this frame to another, px.
        opposite: (B, 2, H, W) from that frame to this one, px.
    """
    returned, inside = warp(opposite, flow)
    lengths = _squares(flow) + _squares(returned)
    return inside * (_squares(flow + returned) < CONSISTENCY * lengths + TOLERANCE)


def motion_edges(flow: Tensor) -> Tensor:
    """Return where a flow changes abruptly, (B, 1, H, W) of 0 and 1: |grad u|^2 + |grad v|^2 > 0.01 |flow|^2 + 0.002.

    Derivatives are central differences, zero across the border.
    """
    padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    return (_squares(across) + _squares(down) > EDGE * _squares(flow) + LEAST_EDGE).to(flow.dtype)


def softened(reliable: Tensor) -> Tensor:
    """Return a map (B, 1, H, W) of 0 and 1 that rises from its zeros to 1 over two pixels; zeros stay zero."""
    mean = F.avg_pool2d(F.pad(reliable, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return reliable * mean


def nearest_first(weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the weights of several earlier frames, of which each counts only what nearer ones leave (section 4.2).

    c_long(i - j) = max(c(i - j) - sum_{k nearer} c_long(i - k), 0), so the sum is at most 1 at every pixel.

    Args:
        weights: maps (B, 1, H, W) in [0, 1], that of the nearest frame first.
    """
    found: list[Tensor] = []
    for weight in weights:
        found.append((weight - sum(found, torch.zeros_like(weight))).clamp_min(0))
    return found


def warping_error(frame: Tensor, other: Tensor, flow: Tensor, visible: Tensor) -> float:
    """Return the mean squared difference between a frame and another one warped to it, over what is visible in both.

    Lai, Huang, Wang, Shechtman, Yumer and Yang 2018, "Learning blind video temporal consistency", section 4.

    Args:
        frame: (1, 3, H, W) in [0, 1].
        other: (1, 3, H, W) in [0, 1], a frame before or after.
        flow: (1, 2, H, W) from `frame` to `other`, px; the content's.
        visible: (1, 1, H, W), 1 where a pixel counts.

    Returns:
        The mean over pixels and channels; 0 where nothing is visible.
    """
    warped, inside = warp(other, flow)
    counted = visible * inside
    squares = (frame - warped).square().mean(1, keepdim=True)
    return float((counted * squares).sum() / counted.sum().clamp_min(1))


def _squares(vectors: Tensor) -> Tensor:
    return vectors.square().sum(1, keepdim=True)
