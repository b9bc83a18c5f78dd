"""Files of feed-forward networks: weights in float16 and what they are, by safetensors."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from src.common.errors import InputError
from src.data.networks import network_path
from src.feedforward import SIZES
from src.feedforward.network import StyleNetwork


@dataclass(frozen=True)
class LoadedNetwork:
    """A network ready for use.

    Attributes:
        network: in evaluation mode, in float32.
        styles: names of its styles, S.
        path: its file.
    """

    network: StyleNetwork
    styles: tuple[str, ...]
    path: Path

    def shares(self, style: str | None = None, weights: list[float] | None = None) -> Tensor:
        """Return the share of each style, (1, S).

        Args:
            style: the only one; None: the weights, or the first style.
            weights: one number for each style, 0 or more, of which the shares are proportional.

        Raises:
            InputError: the network has no such style, or the weights do not fit.
        """
        count = len(self.styles)
        if weights:
            total = sum(weights)
            if len(weights) != count or not (all(0 <= each < math.inf for each in weights) and 0 < total < math.inf):
                raise InputError(
                    f"{self.path.name} needs a finite share of 0 or more for each of its styles "
                    f"{', '.join(self.styles)}, not {weights}"
                )
            return torch.tensor([[each / total for each in weights]])
        if style is not None and style not in self.styles:
            raise InputError(f"{self.path.name} has no style {style}; one of: {', '.join(self.styles)}")
        place = 0 if style is None else self.styles.index(style)
        return torch.eye(count)[place : place + 1]


def metadata(network: StyleNetwork, styles: list[str]) -> dict[str, str]:
    """Return what a file of weights says of itself."""
    return {"network": network.size, "styles": json.dumps(styles)}


def load_network(weights: str | Path) -> LoadedNetwork:
    """Read a network, by name or path.

    Raises:
        InputError: there is none, or the file does not hold one.
    """
    path = network_path(str(weights))
    try:
        with safetensors.safe_open(path, "pt") as file:
            told = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  no mapping
        size, styles = told["network"], json.loads(told["styles"])
        if size not in SIZES or not styles or not all(isinstance(each, str) for each in styles):
            raise ValueError("unknown size or styles")
        network = StyleNetwork(size, len(styles))
        network.load_state_dict(state)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, safetensors.SafetensorError):
        raise InputError(f"{path} is not a network that python -m src.distill wrote") from None
    return LoadedNetwork(network.eval().requires_grad_(False), tuple(styles), path)
