"""Colours: statistics carried from one image to another, brightness and chroma, the OKLab space."""

import torch
from torch import Tensor

# Floor on the colour variance of an image that is mapped: keeps the map finite for an image of one colour, and limits
# how much it amplifies the rounding of a nearly grey one.
LEAST_VARIANCE = 1e-5
# Rec. 709 luma of sRGB values.
LUMA = (0.2126, 0.7152, 0.0722)
# Linear sRGB to cone responses, and their cube roots to OKLab (Ottosson 2020, "A perceptual color space for image
# processing").
CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
OKLAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
# Chroma up to this share of what the gamut has at a lightness and hue is kept; more is compressed.
KNEE = 0.8
HALVINGS = 12


def match_colors(image: Tensor, to: Tensor) -> Tensor:
    """Map an image's colours linearly to the mean and covariance of another image's.

    The map A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2, with A and B the covariances of `image` and `to`, is the optimal
    transport between two normal distributions: of all maps to these statistics it changes the colours least (Pitié
    and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping"; Gatys et al. 2017, section 5.1, use another
    map). The covariance of the result is B where no eigenvalue of A is below `LEAST_VARIANCE`.

    Args:
        image: (B, 3, H, W) in [0, 1].
        to: (B or 1, 3, H', W') in [0, 1].

    Returns:
        (B, 3, H, W), not clamped to [0, 1].
    """
    source, target = image.flatten(2), to.flatten(2)
    source_covariance, target_covariance = _covariance(source), _covariance(target)
    root, inverse = (_power(source_covariance, exponent, LEAST_VARIANCE) for exponent in (0.5, -0.5))
    transport = (inverse @ _power(root @ target_covariance @ root, 0.5) @ inverse).to(image)
    moved = transport @ (source - source.mean(2, keepdim=True)) + target.mean(2, keepdim=True)
    return moved.view_as(image)


def _covariance(pixels: Tensor) -> Tensor:
    """Return the covariance of pixels (B, 3, N), (B, 3, 3), float64, on the CPU."""
    # on the CPU because MPS has no float64 and CUDA's eigendecomposition of a 3 x 3 matrix is slower
    return torch.stack([torch.cov(sample, correction=0) for sample in pixels.cpu().double()])


def _power(matrix: Tensor, exponent: float, least: float = 0.0) -> Tensor:
    """Return a power of symmetric matrices (B, 3, 3), with eigenvalues below `least` raised to it."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.clamp_min(least) ** exponent) @ vectors.mT


def luma(image: Tensor) -> Tensor:
    """Return the Rec. 709 luma of sRGB values, (B, 3, H, W) to (B, 1, H, W)."""
    return (image * image.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def grey(image: Tensor) -> Tensor:
    """Return the luma of sRGB values as an image of three equal channels, (B, 3, H, W)."""
    return luma(image).repeat(1, 3, 1, 1)


def restore_colors(color: str, content: Tensor, picture: Tensor) -> Tensor:
    """Return a result in the colours that `color=` says: luminance and content restore the content's, others none."""
    restore = {"luminance": with_luma_of, "content": with_lightness_of}.get(color)
    return restore(content, picture) if restore else picture


def with_luma_of(image: Tensor, other: Tensor) -> Tensor:
    """Give an image the luma of another, and keep its chroma as far as the luma leaves room for it.

    Adding the same difference of luma to all three channels keeps I and Q of YIQ (Gatys et al. 2016, "Preserving color
    in neural artistic style transfer", section 4). Where that leaves [0, 1], the chroma is reduced at the same hue.

    Args:
        image: (B, 3, H, W), sRGB in [0, 1].
        other: (B, 3, H, W); clamped to [0, 1].

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    brightness, chroma = luma(other.clamp(0, 1)), image - luma(image)
    room = torch.where(chroma > 0, 1 - brightness, brightness) / chroma.abs().clamp_min(1e-12)
    return (brightness + chroma * room.amin(1, keepdim=True).clamp_max(1)).clamp(0, 1)


def with_lightness_of(image: Tensor, other: Tensor) -> Tensor:
    """Give an image the OKLab lightness of another, and keep its a and b (chroma and hue).

    Chroma above `KNEE` of what sRGB holds at that lightness and hue is compressed smoothly to stay below it.

    Args:
        image: (B, 3, H, W), sRGB in [0, 1].
        other: (B, 3, H, W); clamped to [0, 1].

    Returns:
        (B, 3, H, W), sRGB in [0, 1].
    """
    lightness, color = to_oklab(other.clamp(0, 1))[:, :1], to_oklab(image)[:, 1:]
    # Bisection for the factor at which the chroma reaches the surface of the gamut; above 1 / KNEE nothing changes.
    low, step = torch.zeros_like(lightness), 1 / KNEE
    for _ in range(HALVINGS):
        step /= 2
        linear = _linear_of(torch.cat([lightness, (low + step) * color], 1))
        inside = ((linear >= -1e-6) & (linear <= 1 + 1e-6)).all(1, keepdim=True)
        low = torch.where(inside, low + step, low)
    share = 1 / low.clamp_min(1e-6)
    compressed = 1 - (1 - KNEE) * torch.exp((KNEE - share) / (1 - KNEE))
    kept = torch.where(share > KNEE, compressed / share, 1.0)
    return from_oklab(torch.cat([lightness, kept * color], 1))


def to_oklab(image: Tensor) -> Tensor:
    """Return the OKLab coordinates (L, a, b) of sRGB values in [0, 1], both (B, 3, H, W)."""
    linear = torch.where(image <= 0.04045, image / 12.92, ((image.clamp_min(0) + 0.055) / 1.055) ** 2.4)
    return _mixed(OKLAB, _mixed(CONES, linear).clamp_min(0) ** (1 / 3))


def from_oklab(lab: Tensor) -> Tensor:
    """Return the sRGB values, clamped to [0, 1], of OKLab coordinates, both (B, 3, H, W)."""
    linear = _linear_of(lab).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).clamp(0, 1)


def _linear_of(lab: Tensor) -> Tensor:
    """Return linear sRGB of OKLab coordinates."""
    return _mixed(_inverse(CONES), _mixed(_inverse(OKLAB), lab) ** 3)


def _mixed(matrix: tuple[tuple[float, ...], ...], image: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", image.new_tensor(matrix), image)


def _inverse(matrix: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, torch.tensor(matrix, dtype=torch.float64).inverse().tolist()))
