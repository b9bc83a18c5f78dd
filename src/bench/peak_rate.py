"""What this machine can do at most: its own rates of convolution and of matrix multiplication."""

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F

from src.bench.cases import NO_BF16, device_of
from src.bench.plan import KINDS, PRECISIONS, Plan
from src.bench.results import Measured
from src.bench.timing import Timing, interleaved
from src.common.platform import has_bf16

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16}
# One convolution in the middle of VGG-19 at the study's size (conv3_2 at 356 px), and a product of as many operations;
# on a GPU a batch of them, as a single one is over before the next can be launched.
CHANNELS, SIDE = 256, 89
PRODUCT = 1664
GPU_BATCH, GPU_PRODUCT = 32, 5248


def operations(kind: str, device: torch.device) -> float:
    """Return the floating point operations of one of `KINDS`: a multiplication and an addition are two."""
    gpu = device.type != "cpu"
    if kind == "convolution":
        return 2.0 * 9 * CHANNELS * CHANNELS * SIDE * SIDE * (GPU_BATCH if gpu else 1)
    return 2.0 * (GPU_PRODUCT if gpu else PRODUCT) ** 3


def precisions(device: torch.device) -> tuple[str, ...]:
    """Return those that a device multiplies in."""
    return PRECISIONS if has_bf16(device) else PRECISIONS[:1]


def calls(device: torch.device) -> dict[str, Callable[[], object]]:
    """Return one convolution and one matrix product in each precision of a device, channels innermost, on random
    numbers, under the names that `rates` reads.
    """
    gpu = device.type != "cpu"
    batch, side = (GPU_BATCH, GPU_PRODUCT) if gpu else (1, PRODUCT)
    generator = torch.Generator(device).manual_seed(0)
    found: dict[str, Callable[[], object]] = {}
    for precision in precisions(device):

        def drawn(*shape: int, dtype: torch.dtype = DTYPES[precision]) -> torch.Tensor:
            return torch.randn(*shape, device=device, generator=generator).to(dtype)

        layout = torch.channels_last
        values = drawn(batch, CHANNELS, SIDE, SIDE).contiguous(memory_format=layout)
        weights = drawn(CHANNELS, CHANNELS, 3, 3).contiguous(memory_format=layout)
        matrix = drawn(side, side)
        found[f"convolution {precision}"] = lambda v=values, w=weights: F.conv2d(v, w, padding=1)  # type: ignore[misc]
        found[f"product {precision}"] = lambda m=matrix: m @ m  # type: ignore[misc]
    return found


def rates(timings: Mapping[str, Timing], precision: str, device: torch.device) -> dict[str, float]:
    """Return GFLOP/s of each of `KINDS` in a precision, by what the calls took."""
    return {kind: operations(kind, device) / timings[f"{kind} {precision}"].seconds / 1e9 for kind in KINDS}


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield the rates of each precision."""
    device = device_of(plan)
    timings = interleaved(calls(device), plan, device)
    for precision in PRECISIONS:
        if precision in precisions(device):
            yield Measured({"precision": precision}, rates(timings, precision, device))
        else:
            yield Measured({"precision": precision}, note=NO_BF16)
