"""Compiling the evaluation: fewer passes over memory on a CPU, and CUDA graphs on a GPU, for half a minute at first."""

import logging
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from src.common.errors import InputError
from src.common.platform import now
from src.transfer.objective import Objective, Terms

log = logging.getLogger(__name__)

Evaluate = Callable[[Tensor], Terms]
# Warm-up of one size, s, and the share of an evaluation that is saved. On two cores in float32 it is too little to tell
# from noise (VGG-19) or a tenth (embedded); in bfloat16 the conversions go; on a GPU the launches do.
WARM_UP = 45.0
SAVED = {"32": 0.0, "64": 0.0, "bf16": 0.2}
SAVED_ON_GPU = 0.4
# Compiling must repay its cost as often as this: the estimate is a rough one.
MARGIN = 2.0


def obstacle(device: torch.device) -> str:
    """Return why nothing can be compiled for a device here, or nothing."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return "" if has_triton() else "Triton is not installed, or not for this GPU"
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
        asked: auto | always | never; auto compiles where that repays its cost, by the time of one evaluation.
        objective: at the size that the run begins with.
        image: (1, 3, H, W), normalised; where the run starts.
        precision: 32 | 64 | bf16.
        steps: of the whole run.
        sizes: stages, each of which is compiled for itself.

    Raises:
        InputError: asked for by "always", and impossible.
    """
    saved = SAVED_ON_GPU if image.device.type == "cuda" else SAVED[precision]
    if asked == "never" or (asked == "auto" and saved == 0):
        return False
    if reason := obstacle(image.device):
        if asked == "always":
            raise InputError(f"trainer.compile=always: {reason}; trainer.compile=never runs without")
        log.info("not compiled: %s", reason)
        return False
    return asked == "always" or steps * _seconds(objective, image) * saved > MARGIN * WARM_UP * sizes


def _seconds(objective: Objective, image: Tensor) -> float:
    """Return the time of an evaluation, s, the second of two; the objective is then as it was."""
    begun = 0.0
    for _ in range(2):
        begun = now(image.device)
        objective(image.detach().requires_grad_()).total.sum().backward()
    seconds = now(image.device) - begun
    objective.forget_matches()
    return seconds


def compiled(objective: Objective) -> Evaluate:
    """Return the objective, compiled at its next evaluation with known patches; those that look them up, or do not keep
    every layer, run as it is.

    Should the compiler fail, one line says so and the run goes on without it.
    """
    graphs = objective.content_target.device.type == "cuda"
    fast: Evaluate | None = torch.compile(objective, dynamic=False, mode="reduce-overhead" if graphs else None)
    begun = None

    def evaluate(normalized: Tensor) -> Terms:
        nonlocal fast, begun
        if fast is None or not objective.matched or objective.recomputed.blocks:
            return objective(normalized)
        if begun is not None:
            if graphs:
                torch.compiler.cudagraph_mark_step_begin()
            return fast(normalized)
        begun = now(normalized.device)
        try:
            terms = fast(normalized)
        except Exception as error:  # its inner parts raise whatever they like
            log.info("not compiled: %s", (str(error) or type(error).__name__).splitlines()[0])
            fast = None
            return objective(normalized)
        log.info("compiled in %.0f s", now(normalized.device) - begun)
        return terms

    return evaluate
