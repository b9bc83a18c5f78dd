"""Small folders of pictures to train on, and small networks."""

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from src.feedforward.network import StyleNetwork
from src.feedforward.weights import metadata


def write_photographs(folder: Path, count: int = 6, size: tuple[int, int] = (96, 80)) -> Path:
    """Write pictures of coloured blobs of (width, height); return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        small = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def random_network(styles: int, seed: int = 0, size: str = "small") -> StyleNetwork:
    """Return a network of random weights whose styles differ."""
    torch.manual_seed(seed)
    network = StyleNetwork(size, styles)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("scale"):
                value.uniform_(0.5, 1.5)
            elif name.endswith("shift"):
                value.normal_(0, 0.3)
        network.last.weight.normal_(0, 0.03)
    return network.eval().requires_grad_(False)


def write_network(path: Path, styles: list[str], seed: int = 0) -> Path:
    """Write a network of random weights as `src.distill` does; return the file."""
    network = random_network(len(styles), seed)
    state = {key: value.half() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(state, path, metadata(network, styles))
    return path
