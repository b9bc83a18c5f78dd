"""Peak rates of this machine: GFLOP/s of a convolution and of a matrix product by PyTorch's own kernels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from src.bench.cases import NO_BF16, open_device
from src.bench.plan import PRECISIONS, Plan
from src.bench.results import Row
from src.bench.timing import Timings, interleaved
from src.common.platform import has_bf16

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16}
# A convolution from the middle of VGG-19 (conv3_2 at 356 px), and a product of about as many operations. On a GPU
# larger ones, since a single one ends before the next is launched.
CHANNELS, SIDE = 256, 89
BATCH, PRODUCT = 1, 1664
GPU_BATCH, GPU_PRODUCT = 32, 5248


@dataclass(frozen=True)
class Peak:
    """One operator: `convolution` or `product`, its precision and its floating point operations.

    A multiplication and an addition count as two.
    """

    kind: str
    precision: str
    operations: float


def calls(device: torch.device) -> dict[Peak, Callable[[], object]]:
    """Return a convolution and a matrix product in each precision that the device has, channels last."""
    batch, side = (BATCH, PRODUCT) if device.type == "cpu" else (GPU_BATCH, GPU_PRODUCT)
    generator = torch.Generator(device).manual_seed(0)
    found: dict[Peak, Callable[[], object]] = {}
    for precision in PRECISIONS if has_bf16(device) else PRECISIONS[:1]:

        def drawn(*shape: int, dtype: torch.dtype = DTYPES[precision]) -> torch.Tensor:
            return torch.randn(*shape, device=device, generator=generator).to(dtype)

        values = drawn(batch, CHANNELS, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
        weights = drawn(CHANNELS, CHANNELS, 3, 3).contiguous(memory_format=torch.channels_last)
        matrix = drawn(side, side)
        convolution = Peak("convolution", precision, 18.0 * CHANNELS**2 * SIDE**2 * batch)
        found[convolution] = partial(F.conv2d, values, weights, padding=1)
        found[Peak("product", precision, 2.0 * side**3)] = partial(torch.mm, matrix, matrix)
    return found


def rates(timings: Timings, precision: str) -> dict[str, float]:
    """Return GFLOP/s by kind of the timed `calls` in a precision; empty if there are none."""
    return {
        peak.kind: peak.operations / timing["seconds"] / 1e9
        for peak, timing in timings.items()
        if isinstance(peak, Peak) and peak.precision == precision
    }


def measure(plan: Plan) -> Iterator[Row]:
    """Yield the rates of each precision."""
    device = open_device(plan)
    timings = interleaved(calls(device), plan, device)
    for precision in PRECISIONS:
        found = rates(timings, precision)
        yield Row({"precision": precision}, found, "" if found else NO_BF16)
