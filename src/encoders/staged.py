"""Networks other than VGG as encoders: a chain of stages, each a sequence of the network's own layers."""

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name

import torch
from torch import Tensor, nn

from src.config.schema import Backbone
from src.encoders.base import BlockMemory, Encoder
from src.encoders.registry import StagedSpec, encoder_spec
from src.encoders.weights import fill, find_weights, read_state_dict

# Side of the noise image on which random weights are scaled and the memory of a stage is measured, px.
PROBE = 128
# Of the residual branches of random weights
RESIDUAL_SCALE = 0.2


class StagedEncoder(Encoder):
    """A frozen network whose stages are the blocks; stage k ends with the tap `stagek`.

    Batch norms use their running statistics.

    Args:
        spec: which network.
        network: built as `spec.source` does; the stages take its layers.
        depth: number of stages.
    """

    def __init__(self, spec: StagedSpec, network: nn.Module, depth: int) -> None:
        super().__init__({tap: info for tap, info in spec.taps.items() if info.block <= depth}, spec.mean, spec.std)
        self.stages = nn.ModuleList(
            nn.Sequential(*(network.get_submodule(name) for name in stage.modules)) for stage in spec.stages[:depth]
        )
        self.spec = spec
        self.requires_grad_(False)
        self.train(False)
        # A copy on the meta device, which computes shapes alone: padding and rounding differ between networks. In a
        # tuple it is no submodule, so `to` does not move it.
        self._sizing = (copy.deepcopy(self.stages).to("meta"),)
        self._sizes: dict[tuple[int, ...], list[tuple[int, int]]] = {}

    def train(self, mode: bool = True) -> "StagedEncoder":
        """Stay in evaluation mode: in training mode batch norms would use the statistics of the image."""
        return super().train(False)

    def run_block(
        self, block: int, values: Tensor, taps: Iterable[str], last: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Run one stage. See `Encoder.run_block`."""
        values = self.stages[block - 1](values)
        name = f"stage{block}"
        return {name: values} if name in taps else {}, None if last else values

    def feature_size(self, size: Sequence[int], tap: str) -> tuple[int, int]:
        """Return height and width of a tap for an image of this (height, width)."""
        key = tuple(size)
        if key not in self._sizes:
            found, values = [], torch.empty(1, 3, *key, device="meta")
            for stage in self._sizing[0]:
                values = stage(values)
                found.append((values.shape[2], values.shape[3]))
            self._sizes[key] = found
        return self._sizes[key][self.taps[tap].block - 1]

    def block_memory(self, block: int) -> BlockMemory:
        """Return the size of a stage, found by running it on the meta device. See `Encoder.block_memory`."""
        stages = self._sizing[0]
        with torch.no_grad():
            values = torch.empty(1, 3, PROBE, PROBE, device="meta")
            for stage in stages[: block - 1]:
                values = stage(values)
        weights = {_storage(each) for each in stages.parameters()}
        kept: dict[int, Tensor] = {}
        layers: list[int] = []

        def keep(values: Tensor) -> Tensor:
            if values.dim() > 1 and _storage(values) not in weights:
                kept[_storage(values)] = values
            return values

        leaves = [layer for layer in stages[block - 1].modules() if not list(layer.children())]
        hooks = [
            layer.register_forward_hook(lambda _layer, _given, out: layers.append(out.numel())) for layer in leaves
        ]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda values: values):
            output = stages[block - 1](values.requires_grad_())
        for hook in hooks:
            hook.remove()
        found = sum(each.numel() * each.element_size() / values.element_size() for each in kept.values())
        last = block == self.depth(self.taps)
        return BlockMemory(*(count / PROBE**2 for count in (max(layers), 0 if last else output.numel(), found)))


def _storage(values: Tensor) -> int:
    return values.untyped_storage()._cdata


def build_staged(
    spec: StagedSpec, backbone: Backbone, taps: list[str], mirror: str | None
) -> tuple[StagedEncoder, str]:
    """Return a network cut behind its deepest tap, with its weights loaded, and the sha256 of the weights.

    The checksum is that of the file; for random weights that of all values.

    Raises:
        InputError: weights that are missing or do not fit, or a package that is not installed.
    """
    encoder = _without_weights(spec, max(spec.taps[tap].block for tap in taps))
    if backbone.weights == "random":
        state, digest = _random_weights(spec.name, len(encoder.stages), backbone.seed)
        encoder.stages.load_state_dict(state)
        return encoder, digest
    path, digest = find_weights(backbone, spec.weights, spec.sha256, mirror)
    _fill(encoder, read_state_dict(path), path)
    return encoder, digest


def _without_weights(spec: StagedSpec, depth: int) -> StagedEncoder:
    with torch.device("meta"):  # drawing the initial weights would take seconds
        network = resolve_name(spec.source)(**spec.arguments)
    encoder = StagedEncoder(spec, network, depth)
    encoder.stages.to_empty(device="cpu")
    return encoder


def _fill(encoder: StagedEncoder, state: Mapping[str, Tensor], path: Path) -> None:
    for stage, layers in zip(encoder.spec.stages, encoder.stages, strict=False):
        for name, layer in zip(stage.modules, layers.children(), strict=True):
            for kind, values in layer.state_dict().items():
                if kind.endswith("num_batches_tracked"):  # counted in training only
                    values.zero_()
                    continue
                key = f"{name}.{kind}"
                fill(values, state, key, f"{path} does not fit {encoder.spec.name}: {key}")


@lru_cache(maxsize=1)  # the jobs of a sweep share one network
@torch.no_grad()
def _random_weights(name: str, depth: int, seed: int) -> tuple[dict[str, Tensor], str]:
    """Return random weights of the first stages, each layer scaled to unit variance on fixed noise, and their sha256.

    Scaling layer by layer: Mishkin and Matas 2016, "All you need is a good init". Norms change nothing, except that the
    last one of a residual branch scales it by 0.2, without which the variance grows with every block (Brock et al.
    2021, "Characterizing signal propagation to close the performance gap in unnormalized ResNets").
    """
    spec = encoder_spec(name)
    assert isinstance(spec, StagedSpec)
    encoder = _without_weights(spec, depth)
    generator = torch.Generator().manual_seed(1_000_003 * (seed + 1))
    for path, layer in encoder.stages.named_modules():
        for kind, values in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            if isinstance(layer, nn.Conv2d | nn.Linear) and kind == "weight":
                values.normal_(generator=generator)
                layer.register_forward_hook(_scale_to_unit_variance)
            elif spec.residual_scale and f"{path}.{kind}".endswith(f".{spec.residual_scale}"):
                values.fill_(RESIDUAL_SCALE)
            else:  # of norms: 0 for shifts and means; 1 for factors and variances
                values.fill_(0 if kind in ("bias", "running_mean", "num_batches_tracked") else 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last bits depend on the number of threads
    try:
        # an image of its own generator: a network cut at an earlier stage has the same weights
        image = torch.rand(1, 3, PROBE, PROBE, generator=torch.Generator().manual_seed(seed))
        encoder.features(image, encoder.taps)
    finally:
        torch.set_num_threads(threads)
    state, digest = encoder.stages.state_dict(), hashlib.sha256()
    for values in state.values():
        digest.update(values.numpy().tobytes())
    return state, digest.hexdigest()


def _scale_to_unit_variance(layer: nn.Module, _given: object, values: Tensor) -> Tensor:
    assert isinstance(layer.weight, Tensor)
    scale = values.std()
    layer.weight.data /= scale
    return values / scale
