"""The embedded backbone during training: a compact VGG with batch norm, and the heads that define its losses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.encoders.pooling import blur_pool
from src.encoders.registry import VGGSpec
from src.ops.gram import moment_sums, positions

EPSILON = 1e-5


class Trunk(nn.Module):
    """VGG-like network with batch norm between each convolution and its ReLU, and blur pooling."""

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: VGGSpec) -> None:
        super().__init__()
        self.convolutions, self.norms = nn.ModuleDict(), nn.ModuleDict()
        channels = 3
        for name, width in architecture.channels.items():
            self.convolutions[name] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            self.norms[name] = nn.BatchNorm2d(width)
            channels = width
        self.register_buffer("mean", torch.tensor(architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return all activations after their ReLU, (B, C, H', W') each, for images (B, 3, H, W) in [0, 1]."""
        found = {}
        values, block = (images - self.mean) / self.std, "1"
        for name, convolution in self.convolutions.items():
            if name[4] != block:
                values, block = blur_pool(values), name[4]
            values = F.relu(self.norms[name](convolution(values)))
            found[name.replace("conv", "relu")] = values
        return found

    def folded(self) -> dict[str, Tensor]:
        """Return weights and biases with the batch norms (in evaluation mode) folded into the convolutions.

        The keys are those of `Extractor.convolutions`: conv1_1.weight, conv1_1.bias, ...
        """
        state = {}
        for name, convolution in self.convolutions.items():
            norm = self.norms[name]
            assert isinstance(norm, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d)
            assert norm.running_var is not None and norm.running_mean is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            state[f"{name}.weight"] = (convolution.weight * scale.view(-1, 1, 1, 1)).detach()
            state[f"{name}.bias"] = (norm.bias - norm.running_mean * scale).detach()
        return state


class TextureHead(nn.Module):
    """Classify pictures by the statistics of one tap: mean, deviation, and Gram matrix of a learned projection.

    This makes the statistics that a style loss matches informative.

    Args:
        channels: channels of the tap.
        classes: number of classes.
        projected: channels of the projection.
    """

    upper: Tensor

    def __init__(self, channels: int, classes: int, projected: int = 24) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, projected, bias=False)
        rows, columns = torch.triu_indices(projected, projected)
        self.register_buffer("upper", rows * projected + columns, persistent=False)
        count = 2 * channels + len(rows)
        self.norm = nn.BatchNorm1d(count, affine=False)
        self.classifier = nn.Linear(count, classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, classes) and the `redundancy` of features (B, C, H, W)."""
        # One product in the precision of the features gives all statistics: features are the largest tensors here.
        gram, total = moment_sums(features)
        average = total / positions(features)
        moment, mean = gram.float() / positions(features), average.float()
        covariance = moment - mean[:, :, None] * mean[:, None, :]
        deviation = (covariance.diagonal(dim1=1, dim2=2).clamp_min(0) + EPSILON).sqrt()
        projected = self.projection.weight @ covariance @ self.projection.weight.mT
        second = projected.flatten(1)[:, self.upper]
        second = second.sign() * (second.abs() + EPSILON).sqrt()
        return self.classifier(self.norm(torch.cat([mean, deviation, second], 1))), redundancy(mean, moment)


def redundancy(mean: Tensor, moment: Tensor) -> Tensor:
    """Return the redundancy of the channels of a tap: log of their number C over the number of independent ones.

    That number is the participation ratio of the correlation matrix, C^2 / sum_ij r_ij^2. The result is 0 if no two
    channels correlate over positions and pictures, log C if all are the same. The Gram matrix of redundant channels
    constrains an image little (compare Barlow twins, Zbontar et al. 2021, and VICReg, Bardes et al. 2022).

    Args:
        mean: (B, C), mean of each channel in each picture.
        moment: (B, C, C), mean products of channels in each picture.
    """
    centre = mean.mean(0)
    covariance = moment.mean(0) - centre[:, None] * centre
    scale = (covariance.diagonal().clamp_min(0) + EPSILON).rsqrt()
    correlation = covariance * scale[:, None] * scale
    return (correlation.square().sum() / len(centre)).log()


class SceneHead(nn.Module):
    """Classify pictures by the deepest features on a 3 x 3 grid of positions."""

    GRID = 3

    def __init__(self, channels: int, classes: int, hidden: int = 512) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels * self.GRID**2, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, classes) for features (B, C, H, W)."""
        grid = F.adaptive_avg_pool2d(features.float(), self.GRID)
        return self.classifier(F.relu(self.norm(self.hidden(grid.flatten(1)))))


class LayoutHead(nn.Module):
    """Reconstruct `layout_target` of the crop linearly from a deep tap, at twice its resolution.

    This makes the tap keep positions, and not colour or contrast, which belong to the style.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.read = nn.Conv2d(channels, 4, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, 1, 2H, 2W) for features (B, C, H, W)."""
        return F.pixel_shuffle(self.read(features.float()), 2)


def layout_target(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the luminance of images (B, 3, H, W) at (H', W'), with local mean removed and local deviation divided out.

    The neighbourhood is 7 x 7.
    """
    grey = F.interpolate(images.mean(1, keepdim=True), size, mode="area")
    pad = F.pad(grey, (3, 3, 3, 3), mode="reflect")
    mean = F.avg_pool2d(pad, 7, 1)
    variance = F.avg_pool2d(pad.square(), 7, 1) - mean.square()
    return (grey - mean) / (variance.clamp_min(0) + 1e-3).sqrt()
