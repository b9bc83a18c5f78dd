"""Initial weights of a student taken from a wider VGG: channels selected greedily, filters refitted by least squares.

Channel pruning for one network (He, Zhang and Sun 2017, "Channel pruning for accelerating very deep neural networks";
Luo et al. 2017, "ThiNet"), here over all convolutions in order, each fitted on what the pruned ones before it give.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.encoders.pooling import blur_pool
from src.encoders.vgg import VGG
from src.pretrain.network import Trunk

# Sampled positions of each layer in each image.
SAMPLES = 48
# Of the mean diagonal of the normal equations.
RIDGE = 1e-4


def select_channels(moment: Tensor, count: int) -> Tensor:
    """Return the channels that explain most of all channels linearly, chosen greedily, sorted.

    Args:
        moment: (C, C), mean products of the channels' activations.
        count: how many to choose, at most C.
    """
    scale = moment.diagonal().clamp_min(1e-12 * moment.diagonal().max()).rsqrt()
    residual = (moment * scale[:, None] * scale).double()
    chosen: list[int] = []
    for _ in range(count):
        diagonal = residual.diagonal()
        explained = torch.where(diagonal > 1e-9, residual.square().sum(0) / diagonal.clamp_min(1e-9), 0.0)
        explained[chosen] = -1.0
        best = int(explained.argmax())
        chosen.append(best)
        column = residual[:, best]
        residual = residual - column[:, None] * column / column[best].clamp_min(1e-9)
    return torch.tensor(sorted(chosen))


@torch.no_grad()
def inherit(trunk: Trunk, teacher: VGG, batches: Sequence[Tensor]) -> dict[str, float]:
    """Set the convolutions and batch norms of a student from a teacher that has convolutions of the same names.

    Args:
        trunk: the student; changed in place.
        teacher: with every `conv` tap that the student has a convolution of.
        batches: images (B, 3, S, S) in [0, 1] to fit on.

    Returns:
        For each convolution, the fraction of the variance of the selected channels that the fit leaves unexplained.
    """
    generator = torch.Generator().manual_seed(0)
    names = list(trunk.convolutions)
    places: dict[str, list[Tensor]] = {name: [] for name in names}
    targets: dict[str, list[Tensor]] = {name: [] for name in names}
    for images in batches:
        for name, values in teacher.features(images, names).items():
            height, width = values.shape[-2:]
            rows = torch.randint(1, height - 1, (len(images), SAMPLES), generator=generator)
            place = rows * width + torch.randint(1, width - 1, rows.shape, generator=generator)
            place = place.to(values.device)
            places[name].append(place)
            targets[name].append(values.flatten(2).gather(2, place[:, None].expand(-1, values.shape[1], -1)))
    inputs = [(images - trunk.mean) / trunk.std for images in batches]
    left, block = {}, "1"
    for name in names:
        if name[4] != block:
            inputs, block = [blur_pool(each) for each in inputs], name[4]
        convolution, norm = trunk.convolutions[name], trunk.norms[name]
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        target = torch.cat([each.transpose(1, 2).flatten(0, 1) for each in targets.pop(name)])
        active = target.relu()
        chosen = select_channels(active.T @ active / len(active), convolution.out_channels)
        target = target[:, chosen]
        patches = torch.cat([_patches(*pair) for pair in zip(inputs, places[name], strict=True)])
        mean, centre = patches.mean(0), target.mean(0)
        patches, target = patches - mean, target - centre
        normal = (patches.T @ patches).double()
        normal.diagonal().add_(RIDGE * normal.diagonal().mean())
        solution = torch.linalg.solve(normal, (patches.T @ target).double()).float()
        left[name] = float((target - patches @ solution).square().sum() / target.square().sum())
        # Unit mean square after the ReLU, over the layer: later layers then see inputs of one scale.
        scale = (target + centre).relu().square().mean().rsqrt()
        convolution.weight.copy_(scale * solution.T.reshape(convolution.weight.shape))
        bias = scale * (centre - mean @ solution)
        outputs = [convolution(each) for each in inputs]
        total = sum(each.numel() / each.shape[1] for each in outputs)
        average = sum(each.sum((0, 2, 3)) for each in outputs) / total
        variance = sum((each - average.view(1, -1, 1, 1)).square().sum((0, 2, 3)) for each in outputs) / total
        norm.running_mean.copy_(average)  # type: ignore[union-attr]
        norm.running_var.copy_(variance)  # type: ignore[union-attr]
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(average + bias)
        inputs = [F.relu(each + bias.view(1, -1, 1, 1)) for each in outputs]
    return left


def _patches(values: Tensor, places: Tensor) -> Tensor:
    """Return the 3 x 3 neighbourhoods of positions (B, K) of (B, C, H, W) as rows (B K, C 9)."""
    width = values.shape[3]
    offsets = torch.tensor([dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)], device=values.device)
    index = (places[:, None, :] + offsets[:, None]).flatten(1)
    found = values.flatten(2).gather(2, index[:, None].expand(-1, values.shape[1], -1))
    return found.unflatten(2, (9, -1)).permute(0, 3, 1, 2).flatten(0, 1).flatten(1)
