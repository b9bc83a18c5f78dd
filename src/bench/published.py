"""The published program's loop, transcribed in plain PyTorch: what the benchmark holds ours against."""

import torch
from torch import Tensor, nn

from src.encoders.registry import Padding
from src.encoders.vgg import Extractor

# The features it reads are the first convolution of each block, and its weights of content and style.
FIRST = "_1"
ALPHA, BETA = 1.0, 0.01


class PublishedProgram:
    """One pair by the study's program: float32, VGG features by index, Adam on the normalised image.

    Kept as it is written: ReLUs work in place on what was stored, so that all features but the last are read after
    them; the network's weights require gradients, which are computed at every step and used by nobody; the loss is
    read by the host only when it is printed. Its targets are measured once here, which the program may not do.

    Args:
        extractor: gives the weights and the padding, built with max pooling and as deep as conv5_1; copied.
        content: (1, 3, H, W), normalised by the network's statistics; where the image starts.
        style: (1, 3, H', W'), likewise.
        rate: Adam's learning rate.
    """

    def __init__(self, extractor: Extractor, content: Tensor, style: Tensor, rate: float = 1e-3) -> None:
        layers: list[nn.Module] = []
        self.chosen: list[int] = []
        for name, convolution in extractor.convolutions.items():
            if name.endswith(FIRST):
                if layers:
                    layers.append(nn.MaxPool2d(2))
                self.chosen.append(len(layers))
            layers += [plain_convolution(convolution, extractor.architecture.padding), nn.ReLU(inplace=True)]
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
        """Return the total loss of the image as it is."""
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
    """Return torch's own convolution with the weights of one of ours, in float32, as the program has them: channels
    outermost, asking for gradients.
    """
    assert isinstance(given, nn.Conv2d) and given.bias is not None
    found = nn.Conv2d(given.in_channels, given.out_channels, 3, padding=1, padding_mode=padding)
    found.weight.data.copy_(given.weight)
    found.bias.data.copy_(given.bias)  # type: ignore[union-attr]
    return found


def gram(features: Tensor) -> Tensor:
    """Return the Gram matrix of one picture's features (1, C, H, W), not normalised: (C, C)."""
    _, channels, height, width = features.shape
    flat = features.view(channels, height * width)
    return flat.mm(flat.t())
