"""The objective of a batch: one pair a sample, each with its own targets and weights."""

from collections.abc import Sequence

import torch
from torch import nn

from src.ops.losses import Statistics
from src.ops.palette import Palette
from src.ops.patches import JoinedPatches
from src.transfer.canvas import Canvas
from src.transfer.compilation import Evaluate
from src.transfer.objective import Objective, Terms


class BatchObjective(Objective):
    """What `Objective` is to one pair, for several: the value of a sample is that of its own pair, and of no other.

    Args:
        members: the objectives of the pairs, for images of one size, with one network and form of the loss; alpha, beta
            and the weights of the layers are each one's own.
    """

    def __init__(self, members: Sequence[Objective]) -> None:
        nn.Module.__init__(self)
        first = members[0]
        self.members = tuple(members)
        self.extractor, self.taps, self.loss, self.form = first.extractor, first.taps, first.loss, first.form
        self.recomputed = first.recomputed
        self.content_target = torch.cat([each.content_target for each in members])
        self.content_factor = self.form.content(self.content_target)
        like = self.content_target
        self.alpha = like.new_tensor([each.alpha for each in members])
        self.beta = like.new_tensor([each.beta for each in members])
        self.weights = {tap: like.new_tensor([each.weights[tap] for each in members]) for tap in first.weights}
        self.asked = any(each.asked[0] for each in members), any(each.asked[1] for each in members)
        self.style_targets = {
            tap: Statistics.joined([each.style_targets[tap] for each in members]) for tap in first.style_targets
        }
        # at the same taps in all: where a style has no room for a patch, its pair is in another batch
        self.patches = {tap: JoinedPatches([each.patches[tap] for each in members]) for tap in first.patches}
        palettes = [each.palette for each in members if each.palette is not None]
        self.palette = Palette.joined(palettes) if palettes else None
        self.matches = {}
        self._assembled = {}
        if all(each.matches for each in members):
            self.forget_matches({tap: torch.cat([each.matches[tap] for each in members]) for tap in self.patches})

    def share_matches(self) -> None:
        """Let each member know which patches are nearest to its own sample."""
        for sample, member in enumerate(self.members):
            member.forget_matches({tap: places[sample : sample + 1] for tap, places in self.matches.items()})


def joined(members: Sequence[Objective]) -> Objective:
    """Return the objective of several pairs, (B, 3, H, W); of one it is that one itself."""
    return BatchObjective(members) if len(members) > 1 else members[0]


def descend(canvas: Canvas, evaluates: Sequence[Evaluate], at_once: int) -> list[Terms]:
    """Return the terms of a batch's image, part by part, and leave the gradient of all totals with its parameters.

    A part's activations are gone before the next part's are made.

    Args:
        canvas: (B, 3, H, W), its gradient zero.
        evaluates: the objectives of the parts, in order.
        at_once: samples of each part; the last may have fewer.
    """
    normalized = canvas.normalized()
    leaves = [each.detach().requires_grad_() for each in normalized.split(at_once)]
    found = []
    for leaf, evaluate in zip(leaves, evaluates, strict=True):
        found.append(evaluate(leaf))
        found[-1].total.sum().backward()
    normalized.backward(torch.cat([leaf.grad for leaf in leaves if leaf.grad is not None]))
    return found
