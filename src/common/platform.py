"""The machine a run takes place on: its name, its threads, its clock, and what it multiplies in."""

import os
import time
from pathlib import Path

import torch

# What Linux calls the instructions that a processor knows, on x86 and on Arm.
INSTRUCTIONS = ("flags", "Features")
# The instructions of processors that multiply bfloat16 themselves.
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def use_threads(asked: int | None) -> None:
    """Take as many CPU threads as were asked for, else as the batch system allotted, else as torch thinks fit."""
    if threads := allotted_threads(asked):
        torch.set_num_threads(threads)


def allotted_threads(asked: int | None) -> int | None:
    """Return how many CPU threads were asked for, else allotted by the batch system; None: nobody said."""
    # Slurm without CPU binding shows a job all cores of the node: take no more than were allotted.
    allotted = os.environ.get("SLURM_CPUS_PER_TASK")
    return asked or (int(allotted) if allotted else None)


def now(device: torch.device) -> float:
    """Return the wall clock, s, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def has_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 in hardware, and so several times faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and not BF16_FLAGS.isdisjoint(cpu_entry(INSTRUCTIONS).split())


def device_name(device: torch.device) -> str:
    """Return the name of a device for people: the model of the GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    name = cpu_entry(("model name",))
    return f"cpu: {name}" if name else "cpu"


def cpu_entry(keys: tuple[str, ...]) -> str:
    """Return the first of these entries that Linux has on its first processor, else nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(keys)), "")
