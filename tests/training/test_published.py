"""`loss=published` against an independent transcription of the published program in plain torch.

The transcription follows the study's description alone: torchvision's layers 0 to 28 with in-place ReLUs and max
pooling, features 0, 5, 10, 19 and 28, the mean squared content loss at the last of them, mean squared differences of
Gram matrices that are not normalised, alpha 1, beta 0.01, and Adam with learning rate 0.001 on an image in normalised
space that starts as the content.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.models.vgg import cfgs, make_layers

from src.run import run
from src.training.checkpoints import CHECKPOINT

SIZE, STEPS = 40, 20
STYLES = Path(__file__).parents[2] / "src/assets/styles"


class _Program(nn.Module):
    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.model = make_layers(cfgs["E"])[:29]
        self.model.load_state_dict({key: value for key, value in weights.items() if int(key.split(".")[0]) < 29})

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for number, layer in enumerate(self.model):
            x = layer(x)
            if number in (0, 5, 10, 19, 28):
                features.append(x)
        return features


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "features.pth"
    torch.save(make_layers(cfgs["E"]).state_dict(), path)
    return path


def _transcribed(weights: Path, content: Path, style: Path) -> tuple[list[float], torch.Tensor]:
    program = _Program(torch.load(weights, weights_only=True)).eval()
    load = transforms.Compose([
        transforms.Resize((SIZE, SIZE)), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])  # fmt: skip
    original, painting = (load(Image.open(path).convert("RGB")).unsqueeze(0) for path in (content, style))
    generated = original.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([generated], lr=0.001)
    losses = []
    for _ in range(STEPS + 1):
        new, old, wanted = program(generated), program(original), program(painting)
        content_loss = torch.mean((new[-1] - old[-1]) ** 2)
        style_loss = torch.zeros(())
        for image_feature, style_feature in zip(new, wanted, strict=True):
            _, channels, height, width = image_feature.shape
            gram = image_feature.view(channels, height * width).mm(image_feature.view(channels, height * width).t())
            goal = style_feature.view(channels, height * width).mm(style_feature.view(channels, height * width).t())
            style_loss = style_loss + torch.mean((gram - goal) ** 2)
        total = content_loss + 0.01 * style_loss
        losses.append(total.item())
        if len(losses) <= STEPS:
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
    return losses, generated.detach()


@pytest.mark.slow
def test_the_paper_experiment_follows_the_transcription(weights: Path, small: Callable, tmp_path: Path) -> None:
    content, style = STYLES / "dots.jpg", STYLES / "swell.jpg"
    losses, image = _transcribed(weights, content, style)
    overrides = [
        *("experiment=paper", "content=file", f"content.path={content}", "style=file", f"style.path={style}"),
        *(f"backbone.weights={weights}", f"steps={STEPS}", f"captures=[0,1,10,{STEPS}]", f"edge={SIZE}"),
        *("logger=none", "trainer=cpu"),
    ]
    record = run(small(*overrides, base=()), tmp_path)
    assert [capture.step for capture in record.captures] == [0, 1, 10, STEPS]
    for capture in record.captures:
        assert capture.losses["total"] == pytest.approx(losses[capture.step], rel=1e-5)
    assert record.initial_loss == pytest.approx(losses[0], rel=1e-5)
    ours = torch.load(tmp_path / CHECKPOINT, weights_only=True)["state_dict"]["image.values"]
    # Adam moves a pixel by 0.001 however small its gradient, so rounding decides the sign where the gradient is near 0.
    difference = (ours - image).abs()
    assert difference.quantile(0.99).item() < 1e-4
    assert np.isfinite(record.ssim_published) and record.ssim_published != record.ssim
