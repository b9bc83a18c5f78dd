"""Optimisers by name."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import LBFGS, Adam, Optimizer

from src.config import Optimizer as OptimizerOptions


def set_rate(options: OptimizerOptions, groups: Iterable[dict[str, Any]], done: float) -> None:
    """Give Adam the learning rate of a step: constant, then falling linearly to zero at the end of the run.

    Args:
        options: the rate, and the share of the steps in which it falls.
        groups: the optimiser's parameter groups.
        done: the share of all steps that were taken before this one, in [0, 1).
    """
    if options.name == "adam" and options.decay > 0:
        for group in groups:
            group["lr"] = options.lr * min(1.0, (1 - done) / options.decay)


def build_optimizer(options: OptimizerOptions, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return the optimiser of a configuration.

    L-BFGS takes one iteration a step, with a strong-Wolfe line search, and keeps its curvature pairs between steps,
    so that captures, stopping and checkpoints fall between iterations. Its stopping tolerances are zero: they are
    absolute, and the gradient of one pixel of a normalised loss is smaller than torch's defaults from the start.
    """
    if options.name == "adam":
        first, second = options.betas
        return Adam(parameters, lr=options.lr, betas=(first, second))
    return LBFGS(
        parameters,
        lr=options.lr,
        max_iter=1,
        max_eval=25,
        history_size=options.history,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
