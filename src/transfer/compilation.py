"""torch.compile for the objective: fused kernels on a CPU, CUDA graphs on a GPU."""

import logging
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from src.common.errors import InputError
from src.common.platform import now
from src.transfer.objective import Losses, Objective

log = logging.getLogger(__name__)

Evaluate = Callable[[Tensor], Losses]
# Compile time of one size, s, and the fraction of an evaluation that compiling saves, as measured: on two CPU cores,
# where in float32 the gain is within noise for VGG-19 and in bfloat16 the dtype conversions are fused away; and on an
# H100 with 16 cores, where CUDA graphs replace the kernel launches that take most of a step up to 512 px (7 to 17 s,
# 356 px).
COMPILE_SECONDS, COMPILE_SECONDS_ON_GPU = 45.0, 15.0
SAVED_ON_CPU = {"32": 0.0, "64": 0.0, "bf16": 0.2}
SAVED_ON_GPU = 0.6
# `auto` compiles only where the saved time is this many times the compile time, because the estimate is rough.
MARGIN = 2.0


def obstacle(device: torch.device) -> str:
    """Return why torch.compile cannot be used on a device, or an empty string."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return "" if has_triton() else "Triton is not installed or does not support this GPU"
    if device.type != "cpu":
        return f"torch.compile is not used on {device.type}"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        found = shutil.which(get_cpp_compiler())
    except InvalidCxxCompiler:
        found = None
    return "" if found else "there is no C++ compiler"


def decide(asked: str, objective: Objective, image: Tensor, precision: str, steps: int, sizes: int) -> bool:
    """Return whether to compile.

    Args:
        asked: auto | always | never; auto times one evaluation and compiles where that saves time.
        objective: at the first size of the run.
        image: (1, 3, H, W) in [0, 1], where the run starts.
        precision: 32 | 64 | bf16.
        steps: of the whole run.
        sizes: number of stages; each is compiled separately.

    Raises:
        InputError: `always`, and it is impossible.
    """
    on_gpu = image.device.type == "cuda"
    saved, price = (SAVED_ON_GPU, COMPILE_SECONDS_ON_GPU) if on_gpu else (SAVED_ON_CPU[precision], COMPILE_SECONDS)
    if asked == "never" or (asked == "auto" and saved == 0):
        return False
    if reason := obstacle(image.device):
        if asked == "always":
            raise InputError(f"trainer.compile=always is not possible: {reason}; use trainer.compile=never")
        log.info("not compiled: %s", reason)
        return False
    return asked == "always" or steps * _seconds(objective, image) * saved > MARGIN * price * sizes


def _seconds(objective: Objective, image: Tensor) -> float:
    """Return the time of an evaluation, s: the second of two. The objective's searches are undone."""
    begun = 0.0
    for _ in range(2):
        begun = now(image.device)
        objective(image.detach().requires_grad_()).total.sum().backward()
    seconds = now(image.device) - begun
    objective.load_search_state()
    return seconds


def compiled(objective: Objective) -> Evaluate:
    """Return the objective in compiled form; it is compiled at the first evaluation that needs no search.

    Evaluations that search, or that checkpoint activations, run eagerly. Compiler errors, of any type, are the caller's
    to handle. All that this process compiled before is forgotten: torch compiles a function only so many times.
    """
    torch.compiler.reset()
    graphs = objective.encoder.mean.device.type == "cuda"
    fast: Evaluate = torch.compile(objective, dynamic=False, mode="reduce-overhead" if graphs else None)
    begun = None

    def evaluate(image: Tensor) -> Losses:
        nonlocal begun
        if not objective.searched or objective.checkpointing.blocks:
            return objective(image)
        if begun is not None:
            if graphs:
                torch.compiler.cudagraph_mark_step_begin()
            return fast(image)
        begun = now(image.device)
        losses = fast(image)
        log.info("compiled in %.0f s", now(image.device) - begun)
        return losses

    return evaluate
