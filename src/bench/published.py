"""The published program's loop, transcribed in plain PyTorch, which the benchmark compares ours with."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from src.encoders.registry import Padding

ALPHA, BETA = 1.0, 0.01  # the program's weights of content and style


class PublishedProgram:
    """One pair by the published program: float32, VGG features by index, Adam on the normalised image.

    Transcribed as written: in-place ReLUs overwrite the stored features, so that all but the last are read after the
    ReLU; the weights of the network require gradients, which each step computes and nothing uses; the host reads the
    loss only to print it. One difference favours the program: the targets are measured once.

    Args:
        convolutions: the network up to conv5_1, by name (conv1_1, ...); the weights are copied.
        padding: padding mode of the convolutions.
        content: (1, 3, H, W), normalised by the network's statistics; the image starts here.
        style: (1, 3, H', W'), normalised.
        rate: learning rate of Adam.
    """

    def __init__(
        self,
        convolutions: Mapping[str, nn.Module],
        padding: Padding,
        content: Tensor,
        style: Tensor,
        rate: float = 1e-3,
    ) -> None:
        layers: list[nn.Module] = []
        self.chosen: list[int] = []  # the first convolution of each block
        for name, convolution in convolutions.items():
            if name.endswith("_1"):
                if layers:
                    layers.append(nn.MaxPool2d(2))
                self.chosen.append(len(layers))
            layers += [plain_convolution(convolution, padding), nn.ReLU(inplace=True)]
        self.model = nn.Sequential(*layers[:-1]).to(content.device)  # torchvision's features[:29]
        with torch.no_grad():
            self.content = [each.clone() for each in self.features(content)]
            self.grams = [gram(each) for each in self.features(style)]
        self.image = content.clone().requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.image], lr=rate)

    def features(self, values: Tensor) -> list[Tensor]:
        """Return the five feature maps."""
        found = []
        for index, layer in enumerate(self.model):
            values = layer(values)
            if index in self.chosen:
                found.append(values)
        return found

    def loss(self) -> Tensor:
        """Return the total loss of the current image."""
        features = self.features(self.image)
        style = torch.zeros((), device=self.image.device)
        for mine, target in zip(features, self.grams, strict=True):
            style = style + torch.mean((gram(mine) - target) ** 2)
        return ALPHA * torch.mean((features[-1] - self.content[-1]) ** 2) + BETA * style

    def step(self) -> None:
        """Take one iteration."""
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def plain_convolution(given: nn.Module, padding: Padding) -> nn.Conv2d:
    """Return a trainable float32 `nn.Conv2d` with the weights of ours, in PyTorch's default memory layout."""
    assert isinstance(given, nn.Conv2d) and given.bias is not None
    found = nn.Conv2d(given.in_channels, given.out_channels, 3, padding=1, padding_mode=padding)
    found.weight.data.copy_(given.weight)
    found.bias.data.copy_(given.bias)  # type: ignore[union-attr]
    return found


def gram(features: Tensor) -> Tensor:
    """Return the Gram matrix (C, C) of features (1, C, H, W), not normalised."""
    _, channels, height, width = features.shape
    flat = features.view(channels, height * width)
    return flat.mm(flat.t())
