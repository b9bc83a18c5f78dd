"""Optimisers by name."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Adam, Optimizer

from src.config import Optimizer as OptimizerOptions


def set_rate(options: OptimizerOptions, groups: Iterable[dict[str, Any]], step: int, steps: int, stage: int) -> None:
    """Give Adam the learning rate of a step: rising over the first steps of a stage, constant, falling linearly to
    zero at the end of the run.

    Adam's first steps are full ones however small the gradient, and with little known of its size they overshoot.

    Args:
        options: the rate, the steps in which it rises, and the share of all in which it falls.
        groups: the optimiser's parameter groups.
        step: the steps of the run that were taken before this one.
        steps: the steps of the run.
        stage: the step at which the present stage began.
    """
    if options.name != "adam":
        return
    falling = (1 - step / steps) / options.decay if options.decay > 0 else 1.0
    rising = (step - stage + 1) / (options.rise + 1)
    for group in groups:
        group["lr"] = options.lr * min(1.0, falling, rising)


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


Told = TypeVar("Told")


class Memory(Generic[Told]):
    """The last evaluation, for as long as the parameters are as they were then, and their gradients with them.

    torch's L-BFGS begins a step by evaluating where the line search of the one before ended: two evaluations a step in
    place of one.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self._last: tuple[list[Tensor], Tensor, Told] | None = None

    def keep(self, loss: Tensor, told: Told) -> None:
        """Remember the loss of the parameters as they are, whose gradients are there, and what belongs to it."""
        self._last = [each.detach().clone() for each in self.parameters], loss.detach(), told

    def recall(self) -> tuple[Tensor, Told] | None:
        """Return what was kept, where the parameters have not moved since."""
        if self._last is None:
            return None
        kept, loss, told = self._last
        same = all(torch.equal(mine, theirs) for mine, theirs in zip(self.parameters, kept, strict=True))
        return (loss, told) if same else None

    def forget(self) -> None:
        """Forget it: the loss is about to be another function of the parameters."""
        self._last = None
