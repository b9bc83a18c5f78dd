"""The machine of a run: threads, clock, instructions, device names."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from src.common.errors import InputError

INSTRUCTIONS = ("flags", "Features")  # /proc/cpuinfo's entry of the instruction sets, on x86 and on Arm
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # bfloat16 products in hardware


@contextmanager
def cpu_threads(asked: int | None) -> Iterator[None]:
    """Set the number of CPU threads until the block ends: `asked`, else what Slurm allotted, else PyTorch's choice."""
    before = torch.get_num_threads()
    torch.set_num_threads(allotted_threads(asked) or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def allotted_threads(asked: int | None) -> int | None:
    """Return the number of CPU threads that was asked for or allotted by Slurm; None without either."""
    # Slurm without CPU binding shows a job all cores of its node
    allotted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return asked or (int(allotted) if allotted.isdecimal() else None)


def now(device: torch.device) -> float:
    """Return the wall clock in seconds, after the device has finished its queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def has_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 in hardware, several times faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and not BF16_FLAGS.isdisjoint(cpu_entry(INSTRUCTIONS).split())


def resolved_precision(precision: str, device: torch.device) -> str:
    """Return a precision, with `auto` replaced by `bf16` where the hardware has it and by `32` elsewhere.

    Raises:
        InputError: the device does not compute in that precision.
    """
    if precision == "64" and device.type == "mps":
        raise InputError("precision=64 needs trainer=cpu: Apple's GPUs (mps) have no float64")
    return precision if precision != "auto" else "bf16" if has_bf16(device) else "32"


def device_name(device: torch.device) -> str:
    """Return the model name of a GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    name = cpu_entry(("model name",))
    return f"cpu: {name}" if name else "cpu"


def cpu_entry(keys: tuple[str, ...]) -> str:
    """Return the first of these entries in /proc/cpuinfo, or an empty string."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(keys)), "")
