"""Filling a network: the weights of this package, torchvision's ImageNet weights, seeded random ones, or a file."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.common.errors import InputError
from src.config.schema import Backbone
from src.data.sources import checked, fetch
from src.encoders.pooling import POOLS
from src.encoders.registry import Architecture, architecture
from src.encoders.vgg import Extractor

OFFLINE_CHOICES = "; or without a download: backbone=embedded, or backbone.weights=PATH (a torchvision state dict)"
SAFETENSORS = ".safetensors"
EMBEDDED = Path(__file__).resolve().parent.parent / "assets" / "embedded.safetensors"


def build_extractor(backbone: Backbone, taps: list[str], mirror: str | None = None) -> tuple[Extractor, str]:
    """Return the network of a configuration, filled, cut at the deepest tap, and the sha256 of its weights.

    For weights from a file the checksum is the file's; for random weights that of all values, as float32 bytes.

    Raises:
        InputError: unknown network or tap, or weights that cannot be had or do not fit.
    """
    known = architecture(backbone.name)
    extractor = Extractor(known, taps, backbone.pool)
    if backbone.weights == "random":
        return extractor, _fill_random(extractor, backbone)
    if backbone.weights == "trained" and known.url is None:
        path, digest = EMBEDDED, checked(EMBEDDED, known.sha256)
    elif backbone.weights == "trained":
        assert known.url
        name = f"weights/{Path(known.url).name}"
        expected = backbone.sha256 or known.sha256
        found = fetch(backbone.url or known.url, name, expected, mirror, OFFLINE_CHOICES)
        path, digest = found.path, found.sha256
    else:
        path = Path(backbone.weights).expanduser()
        if not path.is_file():
            raise InputError(
                f"backbone.weights={backbone.weights} is neither trained, nor random, nor a file that exists"
            )
        digest = checked(path, backbone.sha256)
    _fill(extractor, _read_state_dict(path), known, path)
    return extractor, digest


def _read_state_dict(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == SAFETENSORS:
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises half a dozen kinds here, down to EOFError and UnpicklingError
        opens = "safetensors" if path.suffix == SAFETENSORS else "torch.load"
        raise InputError(f"{path} is no file of PyTorch weights (one that {opens} opens)") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict (names with tensors), but a {type(state).__name__}")
    return state


def torchvision_indices(known: Architecture) -> dict[str, int]:
    """Return the index of each convolution in torchvision's `features`: conv1_1 is 0, conv1_2 2, conv2_1 5, ..."""
    indices, position = {}, 0
    names = iter(known.convolutions)
    for block in known.blocks:
        for _ in block:
            indices[next(names)] = position
            position += 2  # the convolution and its ReLU
        position += 1  # the pooling
    return indices


def _fill(extractor: Extractor, state: Mapping[str, Tensor], known: Architecture, path: Path) -> None:
    keys = _keys(state, known)
    for name, convolution in extractor.convolutions.items():
        for kind, parameter in convolution.named_parameters():
            key = f"{keys[name]}.{kind}"
            if key not in state:
                raise InputError(f"{path} is no {known.name}: {key} ({name}) is missing")
            if state[key].shape != parameter.shape:
                raise InputError(
                    f"{path} is no {known.name}: {key} ({name}) has shape {tuple(state[key].shape)}, "
                    f"expected {tuple(parameter.shape)}"
                )
            parameter.data.copy_(state[key])


def _keys(state: Mapping[str, Tensor], known: Architecture) -> dict[str, str]:
    """Return what a file calls each convolution: by our names, or by torchvision's indices."""
    if any(key.startswith("conv1_1.") for key in state):
        return {name: name for name in known.convolutions}
    prefix = "features." if any(key.startswith("features.") for key in state) else ""
    return {name: f"{prefix}{index}" for name, index in torchvision_indices(known).items()}


def _fill_random(extractor: Extractor, backbone: Backbone) -> str:
    weights, digest = _random_weights(extractor.architecture, len(extractor.convolutions), backbone.pool, backbone.seed)
    for convolution, weight in zip(extractor.convolutions.values(), weights, strict=True):
        assert isinstance(convolution, nn.Conv2d)
        convolution.weight.data.copy_(weight)
        convolution.bias.data.zero_()  # type: ignore[union-attr]
    return digest


@lru_cache(maxsize=1)  # the jobs of a sweep share one network, and its many QR decompositions
@torch.no_grad()
def _random_weights(known: Architecture, depth: int, pool: str, seed: int) -> tuple[list[Tensor], str]:
    """Return orthogonal weights, each convolution scaled to unit variance on fixed noise, and their sha256.

    Random networks for style: He, Wang and Hopcroft 2016; the scaling: Mishkin and Matas 2016. Each convolution has a
    generator of its own, so a network cut earlier has the same weights as a deeper one, and the noise is fixed, so
    all pairs meet the same network.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last bits of a QR decomposition depend on their number
    try:
        return _draw_weights(known, depth, pool, seed)
    finally:
        torch.set_num_threads(threads)


def _draw_weights(known: Architecture, depth: int, pool: str, seed: int) -> tuple[list[Tensor], str]:
    values = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(seed))
    weights, digest, block = [], hashlib.sha256(), "1"
    for position, (name, width) in enumerate(list(known.channels.items())[:depth]):
        if name[4] != block:
            values, block = POOLS[pool](values), name[4]
        generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + position)
        weight = nn.init.orthogonal_(torch.empty(width, values.shape[1], 3, 3), generator=generator)
        values = F.conv2d(values, weight, padding=1)
        scale = values.std()
        values = (values / scale).relu_()
        weights.append(weight / scale)
        digest.update(weights[-1].numpy().tobytes())
    return weights, digest.hexdigest()
