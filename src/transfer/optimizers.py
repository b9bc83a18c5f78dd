"""Optimisers by name."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import LBFGS, Adam, Optimizer

from src.config.schema import Optimizer as OptimizerOptions

# Change of a value of the canvas by L-BFGS's first step, where the line search begins.
FIRST = 0.01


# Worse than any trial of a loss that was scaled to begin at 1.
WALL = 1e8


def set_rate(options: OptimizerOptions, groups: Iterable[dict[str, Any]], step: int, steps: int, stage: int) -> None:
    """Give a step its learning rate.

    Adam's rises over the first steps of a stage, is constant, and falls linearly to zero at the end of the run. Its
    first steps are full ones however small the gradient, and with little known of its size they overshoot.

    L-BFGS knows no curvature at its first step of a stage. torch makes that one long, in the sum over all values of the
    image, which is nothing; the line search then needs some five trials to get going. Here it begins with a change of
    `FIRST` of the average value.

    Args:
        options: the rate, the steps in which it rises, and the share of all in which it falls.
        groups: the optimiser's parameter groups.
        step: the steps of the run that were taken before this one.
        steps: the steps of the run.
        stage: the step at which the present stage began.
    """
    if options.name != "adam":
        for group in groups:
            values = sum(parameter.numel() for parameter in group["params"])
            group["lr"] = options.lr * (FIRST * values if step == stage else 1.0)
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


def resize_moments(optimizer: Optimizer, before: dict[str, Any]) -> None:
    """Begin with the moments of Adam at another size, enlarged to this one, as crowsonkb's style-transfer-pytorch does.

    A loss is a mean over positions: one pixel's share of it, and its gradient, fall as their number grows.

    Args:
        optimizer: Adam that has not stepped, over parameters (B, C, H, W).
        before: the state of the one at the other size, over as many parameters.
    """
    state = optimizer.state_dict()
    for index, moments in before["state"].items():
        parameter = optimizer.param_groups[0]["params"][index]
        size, smaller = parameter.shape[2:], moments["exp_avg"].shape[2:]
        share = smaller.numel() / size.numel()
        first = F.interpolate(moments["exp_avg"], size, mode="bicubic", align_corners=False)
        # a square must not fall below zero, as between the samples of a cubic
        second = F.interpolate(moments["exp_avg_sq"], size, mode="bilinear", align_corners=False)
        state["state"][index] = {
            "step": moments["step"].clone(),
            "exp_avg": first * share,
            "exp_avg_sq": second * share**2,
        }
    optimizer.load_state_dict(state)


def walled(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return a loss that torch's line search turns back from where it is not finite.

    NaN would look like progress to it, and with infinity it cannot interpolate.
    """
    if torch.isfinite(loss):
        return loss
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    return torch.full_like(loss, WALL)


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
