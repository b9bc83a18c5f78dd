"""Optimisers by name."""

from collections.abc import Iterable

from torch import nn
from torch.optim import LBFGS, Adam, Optimizer

from src.config import Optimizer as OptimizerOptions


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
