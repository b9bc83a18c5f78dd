"""Find and read files of weights, and fill a VGG: with shipped or downloaded weights, a file's, or random ones."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.common.errors import InputError
from src.common.files import expanded
from src.config.schema import Backbone
from src.data.sources import checked, fetch
from src.encoders.pooling import POOLS
from src.encoders.registry import VGGSpec
from src.encoders.vgg import VGG

OFFLINE_CHOICES = "; or without a download: backbone=embedded, or backbone.weights=PATH (a torchvision state dict)"
SAFETENSORS = ".safetensors"
EMBEDDED = Path(__file__).resolve().parent.parent / "assets" / "embedded.safetensors"


def build_vgg(spec: VGGSpec, backbone: Backbone, taps: list[str], mirror: str | None = None) -> tuple[VGG, str]:
    """Return a VGG cut behind its deepest tap, with its weights loaded, and the sha256 of the weights.

    The checksum is that of the file; for random weights that of all values as float32 bytes.

    Raises:
        InputError: weights that are missing or do not fit.
    """
    encoder = VGG(spec, taps, backbone.pool)
    if backbone.weights == "random":
        return encoder, _fill_random(encoder, backbone)
    if backbone.weights == "trained" and spec.url is None:
        path, digest = EMBEDDED, checked(EMBEDDED, backbone.sha256 or spec.sha256)
    else:
        path, digest = find_weights(backbone, spec.url or "", spec.sha256, mirror)
    _fill(encoder, read_state_dict(path), path)
    return encoder, digest


def find_weights(backbone: Backbone, address: str, sha256: str, mirror: str | None) -> tuple[Path, str]:
    """Return the file of trained weights, or of the path in `backbone.weights`, and its sha256.

    Args:
        backbone: the option; its address and checksum replace the next two.
        address: of the trained weights, or MODULE:FUNCTION that returns the path of their file.
        sha256: of the trained weights, or its first digits.
        mirror: `mirror=DIR`.

    Raises:
        InputError: there is no such file, its checksum differs, or it cannot be downloaded.
    """
    if backbone.weights != "trained":
        path = expanded(backbone.weights)
        if not path.is_file():
            raise InputError(f"backbone.weights={backbone.weights}: no such file; use trained, random or a file's path")
        return path, checked(path, backbone.sha256)
    if "://" not in address:
        if backbone.url:
            raise InputError(
                f"backbone.url cannot be combined with backbone={backbone.name}, whose weights are in a package"
            )
        path = resolve_name(address)()
        return path, checked(path, backbone.sha256 or sha256)
    name = f"weights/{Path(address).name}"
    found = fetch(backbone.url or address, name, backbone.sha256 or sha256, mirror, OFFLINE_CHOICES)
    return found.path, found.sha256


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Read a file of weights, by safetensors or torch.

    Raises:
        InputError: it is none.
    """
    try:
        if path.suffix == SAFETENSORS:
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds here, down to EOFError and UnpicklingError
        reader = "safetensors" if path.suffix == SAFETENSORS else "torch.load"
        raise InputError(f"{path} is not a file of PyTorch weights that {reader} can open") from None
    entries = state.items() if isinstance(state, Mapping) else [(None, None)]
    if not all(isinstance(key, str) and isinstance(each, Tensor) and not each.is_sparse for key, each in entries):
        raise InputError(f"{path} holds no state dict (a mapping of names to dense tensors)")
    return state


def fill(values: Tensor, state: Mapping[str, Tensor], key: str, what: str) -> None:
    """Copy an entry of a state dict into `values`; `what` begins the message where it does not fit.

    Raises:
        InputError: there is no such entry, or it has another shape.
    """
    found = tuple(state[key].shape) if key in state else "missing"
    if found != tuple(values.shape):
        raise InputError(f"{what} should have shape {tuple(values.shape)}, and is {found}")
    values.copy_(state[key])


def torchvision_indices(spec: VGGSpec) -> dict[str, int]:
    """Return the index of each convolution in torchvision's `features`: 0 for conv1_1, 2 for conv1_2, 5 for conv2_1."""
    names, indices, position = iter(spec.channels), {}, 0
    for block in spec.blocks:
        for _ in block:
            indices[next(names)] = position
            position += 2  # the convolution and its ReLU
        position += 1  # the pooling
    return indices


def _fill(encoder: VGG, state: Mapping[str, Tensor], path: Path) -> None:
    keys = _keys(state, encoder.spec)
    for name, convolution in encoder.convolutions.items():
        for kind, parameter in convolution.named_parameters():
            key = f"{keys[name]}.{kind}"
            fill(parameter.data, state, key, f"{path} does not fit {encoder.spec.name}: {key} ({name})")
    if encoder.spec.bgr:
        first = encoder.convolutions["conv1_1"]
        assert isinstance(first, nn.Conv2d)
        first.weight.data.copy_(first.weight.flip(1))


def _keys(state: Mapping[str, Tensor], spec: VGGSpec) -> dict[str, str]:
    """Return what a file calls each convolution: our names or torchvision's indices."""
    if any(key.startswith("conv1_1.") for key in state):
        return {name: name for name in spec.channels}
    prefix = "features." if any(key.startswith("features.") for key in state) else ""
    return {name: f"{prefix}{index}" for name, index in torchvision_indices(spec).items()}


def _fill_random(encoder: VGG, backbone: Backbone) -> str:
    weights, digest = _random_weights(encoder.spec, len(encoder.convolutions), backbone.pool, backbone.seed)
    for convolution, weight in zip(encoder.convolutions.values(), weights, strict=True):
        assert isinstance(convolution, nn.Conv2d)
        convolution.weight.data.copy_(weight)
        convolution.bias.data.zero_()  # type: ignore[union-attr]
    return digest


@lru_cache(maxsize=1)  # the jobs of a sweep share one network and its QR decompositions
@torch.no_grad()
def _random_weights(spec: VGGSpec, depth: int, pool: str, seed: int) -> tuple[list[Tensor], str]:
    """Return orthogonal weights, each convolution scaled to unit variance on fixed noise, and their sha256.

    Random networks for style: He, Wang and Hopcroft 2016; the scaling: Mishkin and Matas 2016. Each convolution has its
    own generator, so a shallower network has the same weights as a deeper one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last bits of a QR decomposition depend on the number of threads
    try:
        return _draw_weights(spec, depth, pool, seed)
    finally:
        torch.set_num_threads(threads)


def _draw_weights(spec: VGGSpec, depth: int, pool: str, seed: int) -> tuple[list[Tensor], str]:
    values = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(seed))
    weights, digest, block = [], hashlib.sha256(), "1"
    for position, (name, width) in enumerate(list(spec.channels.items())[:depth]):
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
