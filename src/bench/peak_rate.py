"""Peak rates of this machine: GFLOP/s of a convolution and of a matrix product by PyTorch's own kernels."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from src.bench.cases import NO_BF16, open_device
from src.bench.plan import PRECISIONS, Plan
from src.bench.results import Measured
from src.bench.timing import Timings, interleaved
from src.common.platform import has_bf16

KINDS = ("convolution", "product")
DTYPES = {"32": torch.float32, "bf16": torch.bfloat16}
# A convolution from the middle of VGG-19 (conv3_2 at 356 px), and a product of about as many operations. On a GPU
# larger ones, since a single one ends before the next is launched.
CHANNELS, SIDE = 256, 89
PRODUCT = 1664
GPU_BATCH, GPU_PRODUCT = 32, 5248


def operations(kind: str, device: torch.device) -> float:
    """Return the floating point operations of one call; a multiplication and an addition count as two."""
    gpu = device.type != "cpu"
    if kind == "convolution":
        return 2.0 * 9 * CHANNELS * CHANNELS * SIDE * SIDE * (GPU_BATCH if gpu else 1)
    return 2.0 * (GPU_PRODUCT if gpu else PRODUCT) ** 3


def precisions(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that the device supports in hardware."""
    return PRECISIONS if has_bf16(device) else PRECISIONS[:1]


def calls(device: torch.device) -> dict[Any, Callable[[], object]]:
    """Return a convolution and a matrix product in each precision, by (kind, precision), channels last."""
    batch, side = (GPU_BATCH, GPU_PRODUCT) if device.type != "cpu" else (1, PRODUCT)
    generator = torch.Generator(device).manual_seed(0)
    found: dict[Any, Callable[[], object]] = {}
    for precision in precisions(device):

        def drawn(*shape: int, dtype: torch.dtype = DTYPES[precision]) -> torch.Tensor:
            return torch.randn(*shape, device=device, generator=generator).to(dtype)

        values = drawn(batch, CHANNELS, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
        weights = drawn(CHANNELS, CHANNELS, 3, 3).contiguous(memory_format=torch.channels_last)
        matrix = drawn(side, side)
        found["convolution", precision] = lambda v=values, w=weights: F.conv2d(v, w, padding=1)  # type: ignore[misc]
        found["product", precision] = lambda m=matrix: m @ m  # type: ignore[misc]
    return found


def rates(timings: Timings, precision: str, device: torch.device) -> dict[str, float]:
    """Return GFLOP/s of each of `KINDS` in a precision, from timings of `calls`."""
    return {kind: operations(kind, device) / timings[kind, precision]["seconds"] / 1e9 for kind in KINDS}


def shares(gflops: float, timings: Timings, precision: str, device: torch.device) -> dict[str, float]:
    """Return a rate as fractions of the peak rates."""
    return {f"share_of_{kind}": gflops / rate for kind, rate in rates(timings, precision, device).items()}


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield the rates of each precision."""
    device = open_device(plan)
    timings = interleaved(calls(device), plan, device)
    for precision in PRECISIONS:
        if precision in precisions(device):
            yield Measured({"precision": precision}, rates(timings, precision, device))
        else:
            yield Measured({"precision": precision}, note=NO_BF16)
