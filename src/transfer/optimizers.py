"""Optimisers by name, their learning rates, and what a line search needs."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import LBFGS, Adam, Optimizer

from src.config.schema import Optimizer as OptimizerOptions

# Change of the average value by L-BFGS's first step, where its line search begins.
FIRST_CHANGE = 0.01
# Loss that stands for a non-finite one in a line search, where losses are scaled to begin at 1.
NON_FINITE_LOSS = 1e8


def build_optimizer(options: OptimizerOptions, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return the optimiser of a configuration.

    L-BFGS makes one iteration per step, with a strong-Wolfe line search, and keeps its curvature pairs between steps,
    so that captures, stops and checkpoints fall between iterations. Its stopping tolerances are zero: torch's
    are absolute, so whether they stop a run would depend on the image's size and the loss form.
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


def set_learning_rate(
    options: OptimizerOptions, groups: Iterable[dict[str, Any]], step: int, steps: int, begun: int
) -> None:
    """Set the learning rate of a step.

    Adam's rate rises over the first steps at a size and falls linearly to zero at the end of the run: its first steps
    are full-sized whatever the gradient, and overshoot while the moments are unknown.

    L-BFGS knows no curvature at its first step. torch scales that step to a sum of 1 over all pixels, which changes
    none of them visibly, and its line search needs about five trials to lengthen it. Here the first step changes the
    average value by `FIRST_CHANGE`.

    Args:
        options: the rate, the steps in which it rises, and the fraction of all steps in which it falls.
        groups: the optimiser's parameter groups.
        step: steps of the run taken so far.
        steps: steps of the whole run.
        begun: the step at which the optimiser's state begins: for Adam the first at this size, for L-BFGS that of the
            stage or of its last restart.
    """
    if options.name != "adam":
        for group in groups:
            values = sum(parameter.numel() for parameter in group["params"])
            group["lr"] = options.lr * (FIRST_CHANGE * values if step == begun else 1.0)
        return
    falling = (1 - step / steps) / options.decay if options.decay > 0 else 1.0
    rising = (step - begun + 1) / (options.rise + 1)
    for group in groups:
        group["lr"] = options.lr * min(1.0, falling, rising)


def resize_moments(optimizer: Optimizer, before: dict[str, Any]) -> None:
    """Start Adam with the moments of the previous stage, enlarged to the new size.

    As in crowsonkb's style-transfer-pytorch, which does not scale them. Here they are scaled by the ratio of the
    numbers of pixels: a loss is a mean over positions, so the gradient of one pixel falls as their number grows.

    Args:
        optimizer: Adam that has not stepped, over parameters (B, C, H, W).
        before: state dict of the previous stage's Adam. A parameter that it lacks, or has with a different number of
            channels, starts with fresh moments: small images of `canvas.space=laplacian` have fewer levels, the
            coarsest with colours.
    """
    state = optimizer.state_dict()
    for index, moments in before["state"].items():
        parameter = optimizer.param_groups[0]["params"][index]
        if parameter.shape[:2] != moments["exp_avg"].shape[:2]:
            continue
        size, smaller = parameter.shape[2:], moments["exp_avg"].shape[2:]
        if size == smaller:
            state["state"][index] = moments
            continue
        share = smaller.numel() / size.numel()
        first = F.interpolate(moments["exp_avg"], size, mode="bicubic", align_corners=False)
        # Bilinear, because bicubic interpolation of squares can fall below zero.
        second = F.interpolate(moments["exp_avg_sq"], size, mode="bilinear", align_corners=False)
        state["state"][index] = {
            "step": moments["step"].clone(),
            "exp_avg": first * share,
            "exp_avg_sq": second * share**2,
        }
    optimizer.load_state_dict(state)


def backtrack_on_non_finite(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return a loss that makes torch's line search back off where it is not finite, with zero gradients.

    The line search takes NaN for progress and cannot interpolate infinity.
    """
    if torch.isfinite(loss):
        return loss
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    return torch.full_like(loss, NON_FINITE_LOSS)


Details = TypeVar("Details")


class CachedEvaluation(Generic[Details]):
    """The last evaluation, valid while the parameters and their gradients are unchanged.

    torch's L-BFGS begins a step by evaluating the point where the line search before it ended.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self._last: tuple[list[Tensor], Tensor, Details] | None = None

    def store(self, loss: Tensor, details: Details) -> None:
        """Remember the loss at the present parameters, whose gradients are set, and what belongs to it."""
        self._last = [each.detach().clone() for each in self.parameters], loss.detach(), details

    def load(self) -> tuple[Tensor, Details] | None:
        """Return what was stored if the parameters are the same."""
        if self._last is None:
            return None
        kept, loss, details = self._last
        same = all(torch.equal(mine, theirs) for mine, theirs in zip(self.parameters, kept, strict=True))
        return (loss, details) if same else None

    def clear(self) -> None:
        """Forget the evaluation: the loss is about to become another function of the parameters."""
        self._last = None
