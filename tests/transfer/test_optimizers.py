"""Optimisers: learning rates, moments of another size, and what the line search of L-BFGS needs."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.config.schema import Optimizer
from src.run import run
from src.training.checkpoints import CHECKPOINT
from src.transfer.image_models.laplacian import LaplacianImage
from src.transfer.objective import Losses, Objective
from src.transfer.optimizers import build_optimizer, resize_moments, set_learning_rate
from tests.support.runs import metric_rows

LBFGS = ("optimizer=lbfgs", "loss=moments", "init=content")


def test_adams_learning_rate_rises_and_falls_to_zero_at_the_end() -> None:
    groups: list[dict[str, Any]] = [{"lr": 1.0, "params": [torch.zeros(2, 5)]}]
    rates = []
    for step in range(10):
        set_learning_rate(Optimizer(lr=0.1, rise=1, decay=0.4), groups, step, 10, 0)
        rates.append(groups[0]["lr"])
    assert rates == pytest.approx([0.05] + [0.1] * 6 + [0.075, 0.05, 0.025])
    set_learning_rate(Optimizer(lr=0.11, rise=10, decay=0.0), groups, 52, 100, 50)
    assert groups[0]["lr"] == pytest.approx(0.03), "it rises at every size"


def test_the_first_step_of_lbfgs_changes_values_by_a_hundredth_on_average() -> None:
    """Torch makes its first step lr / |gradient|_1 times the gradient: the sum of the changes is lr."""
    groups: list[dict[str, Any]] = [{"lr": 1.0, "params": [torch.zeros(2, 5)]}]
    set_learning_rate(Optimizer(name="lbfgs", lr=1.0), groups, 3, 10, 3)
    assert groups[0]["lr"] == pytest.approx(10 * 0.01)
    set_learning_rate(Optimizer(name="lbfgs", lr=1.0, decay=0.4), groups, 9, 10, 0)
    assert groups[0]["lr"] == 1.0, "later the line search finds the length"


def test_resized_moments_are_those_of_the_larger_size() -> None:
    """The gradient of a mean over positions, constant over the image, falls with the number of pixels."""

    def moments(size: int, steps: int) -> tuple[torch.optim.Optimizer, torch.nn.Parameter]:
        image = torch.nn.Parameter(torch.zeros(1, 3, size, size))
        optimizer = build_optimizer(Optimizer(), [image])
        for _ in range(steps):
            image.grad = torch.full_like(image, 3.0 / size**2)
            optimizer.step()
        return optimizer, image

    small, _ = moments(8, 3)
    expected, whole = moments(12, 3)
    carried, image = moments(12, 0)
    resize_moments(carried, small.state_dict())
    for name in ("exp_avg", "exp_avg_sq", "step"):
        torch.testing.assert_close(carried.state[image][name], expected.state[whole][name])
    same, image = moments(12, 0)
    resize_moments(same, expected.state_dict())
    for name, value in expected.state[whole].items():
        assert torch.equal(same.state[image][name], value)


def test_a_grid_that_gains_or_loses_colours_starts_with_fresh_moments() -> None:
    """The coarsest grid of an image has colours; at the next size a coarser one may follow."""

    def optimized(side: int, steps: int) -> torch.optim.Optimizer:
        image = LaplacianImage(torch.full((1, 3, side, side), 0.5), clamp=False, decay=0.0)
        optimizer = build_optimizer(Optimizer(), [*image.parameters()])
        for _ in range(steps):
            optimizer.zero_grad()
            image.render().square().sum().backward()
            optimizer.step()
        return optimizer

    carried = optimized(32, 0)
    resize_moments(carried, optimized(20, 2).state_dict())
    finest, second, third = carried.param_groups[0]["params"]
    assert [each.shape[1] for each in (finest, second, third)] == [1, 1, 3]
    assert carried.state[finest]["exp_avg"].shape == finest.shape and not {second, third} & carried.state.keys()


def test_a_run_carries_its_moments_where_asked_for(small: Callable, tmp_path: Path) -> None:
    options = ("edge=90", "schedule=pyramid", "steps=4", "loss=moments", "init=content")
    anew = run(small(*options), tmp_path / "anew")
    carried = run(small(*options, "schedule.carry=true"), tmp_path / "carried")
    assert anew.captures[-1].losses["total"] != carried.captures[-1].losses["total"]
    state = torch.load(tmp_path / "carried" / CHECKPOINT, weights_only=True)["optimizer_states"][0]["state"]
    assert float(state[0]["step"]) == 4


def test_lbfgs_minimises_a_loss_that_is_small_in_its_units(small: Callable, tmp_path: Path) -> None:
    """Torch rejects curvature pairs below 1e-10, whatever the scale of the loss."""
    options = ("optimizer=lbfgs", "steps=12", "loss.alpha=1", "loss.beta=20", "logger=csv")
    record = run(small(*options, "loss.alpha=1e-9", "loss.beta=2e-8"), tmp_path / "small")
    large = run(small(*options), tmp_path / "large")
    assert record.loss_decay == pytest.approx(large.loss_decay, rel=0.05) and record.loss_decay > 3
    assert record.initial_loss < 1e-5, "the reported loss is not scaled"


def test_lbfgs_evaluates_no_image_twice_in_a_row(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch begins each step with the point where the line search before it ended."""
    seen: list[torch.Tensor] = []
    forward = Objective.forward

    def watched(self: Objective, image: torch.Tensor, full: bool = False) -> Losses:
        if torch.is_grad_enabled():
            seen.append(image.detach().clone())
        return forward(self, image, full)

    monkeypatch.setattr(Objective, "forward", watched)
    record = run(small(*LBFGS, "steps=8"), tmp_path)
    assert len(seen) == record.evaluations >= 9
    assert not any(torch.equal(first, second) for first, second in itertools.pairwise(seen))


def test_a_line_search_backtracks_from_a_non_finite_loss(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third evaluation, the first trial of the second step, has no finite loss."""
    forward, evaluations = Objective.forward, itertools.count(1)

    def broken(self: Objective, image: torch.Tensor, full: bool = False) -> Losses:
        losses = forward(self, image, full)
        if torch.is_grad_enabled() and next(evaluations) == 3:
            return dataclasses.replace(losses, total=losses.total * math.nan)
        return losses

    monkeypatch.setattr(Objective, "forward", broken)
    record = run(small(*LBFGS, "steps=6", "log_every=1", "logger=csv"), tmp_path)
    found = [float(row["loss/total"]) for row in metric_rows(tmp_path)]
    assert record.status == "finished" and record.step == 6 and len(found) == 7
    assert all(after < before for before, after in itertools.pairwise(found))


def test_lbfgs_restarts_its_history_when_patches_are_searched_again(small: Callable, tmp_path: Path) -> None:
    """A curvature pair across a search would mix the gradients of two objectives."""
    iterations = {}
    for rematch in (4, 20):
        folder = tmp_path / str(rematch)
        run(small("optimizer=lbfgs", "steps=6", f"loss.rematch={rematch}"), folder)
        state = torch.load(folder / CHECKPOINT, weights_only=True)["optimizer_states"][0]["state"][0]
        iterations[rematch] = state["n_iter"], len(state["old_dirs"])
    assert iterations == {4: (2, 1), 20: (6, 5)}, "(iterations, curvature pairs) since the history began"
