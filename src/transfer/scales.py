"""The objective of an image at several sizes at once: `schedule=simultaneous`.

Simultaneously optimized scales (Galerne, Wang, Raad and Morel 2025, "SGSST: Scaling Gaussian splatting style transfer",
arXiv 2412.03371): image, content and styles are halved repeatedly, each size has the losses of its own features with
weight 1, and the total is their mean, as in the authors' program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from src.config.schedule import halvings
from src.config.schema import RunConfig
from src.encoders.base import Encoder
from src.encoders.checkpointing import KEEP_ALL, Checkpointing
from src.transfer.objective import Objective, TargetCache, build_objective
from src.transfer.terms.base import Inputs, TermValue


def halved(image: Tensor) -> Tensor:
    """Return an image (B, C, H, W) at half the size, odd sizes rounded down: each pixel the mean of its area."""
    height, width = image.shape[2:]
    return F.interpolate(image, (height // 2, width // 2), mode="area")


def halved_inputs(inputs: Inputs) -> Inputs:
    """Return content, styles and their masks at half their sizes, without references, which are of pixels."""

    def half(values: Tensor | None) -> Tensor | None:
        return None if values is None else halved(values)

    styles = tuple(
        replace(style, image=halved(style.image), mask=half(style.mask), regions=half(style.regions))
        for style in inputs.styles
    )
    regions = inputs.regions and replace(inputs.regions, shares=halved(inputs.regions.shares))
    content, mask, kept = halved(inputs.content), half(inputs.mask), half(inputs.kept)
    return replace(inputs, content=content, styles=styles, mask=mask, regions=regions, kept=kept, references=())


class SimultaneousObjective(Objective):
    """Terms that read features have the mean of their values over all sizes; terms of pixels read full size alone.

    Args:
        full: the objective of the image.
        smaller: those of the image halved once, twice and so on, with terms that read features alone.
    """

    def __init__(self, full: Objective, smaller: Sequence[Objective]) -> None:
        super().__init__(
            full.encoder,
            {name: (full.weights[name], full.terms[name]) for name in full.terms},
            full.checkpointing,
            full.kept_in,
        )
        self.smaller = list(smaller)

    def values(self, image: Tensor, full: bool) -> dict[str, TermValue]:
        """Return the values of the terms by name; see `Objective`."""
        found = super().values(image, full)
        sizes = [{name: value for name, value in found.items() if self.terms[name].taps}]
        for objective in self.smaller:
            image = halved(image)
            objective.checkpointing = self.checkpointing
            sizes.append(objective.values(image, full))
        return found | {name: _mean([each[name] for each in sizes if name in each], len(sizes)) for name in sizes[0]}

    # The results of searches at a smaller size are kept under the term's name and the number of halvings.

    @property
    def searched(self) -> bool:
        """Return whether the next evaluation needs no search."""
        return super().searched and all(each.searched for each in self.smaller)

    def search_state(self) -> dict[str, dict[str, Tensor]]:
        """Return the results of all searches by term and size."""
        found = super().search_state()
        for halving, objective in enumerate(self.smaller, 1):
            found |= {f"{name}:{halving}": state for name, state in objective.search_state().items()}
        return found

    def search_again(self, step: int) -> None:
        """Search anew at the next evaluation, which is of this step."""
        super().search_again(step)
        for objective in self.smaller:
            objective.search_again(step)

    def load_search_state(self, state: Mapping[str, Mapping[str, Tensor]] | None = None) -> None:
        """Take the results of searches by term and size; without any, search anew at the next evaluation."""
        super().load_search_state(_of_size(state or {}, 0))
        for halving, objective in enumerate(self.smaller, 1):
            objective.load_search_state(_of_size(state or {}, halving))

    @classmethod
    def join(cls, members: "Sequence[SimultaneousObjective]") -> "Objective":  # type: ignore[override]
        """Return the objective of a batch."""
        if len(members) == 1:
            return members[0]
        sizes = zip(*(member.smaller for member in members), strict=True)
        return cls(Objective.join(members), [Objective.join(each) for each in sizes])


def build_scales(
    config: RunConfig,
    encoder: Encoder,
    inputs: Inputs,
    checkpointing: Checkpointing = KEEP_ALL,
    targets: TargetCache | None = None,
    identities: Mapping[str, object] | None = None,
) -> Objective:
    """Return the objective of a configuration at all sizes of its schedule; arguments as of `build_objective`."""
    found = [build_objective(config, encoder, inputs, checkpointing, targets, identities)]
    for _ in range(halvings(config, max(inputs.content.shape[2:]))):
        inputs = halved_inputs(inputs)
        objective = build_objective(config, encoder, inputs, checkpointing, targets, identities)
        table = {name: (objective.weights[name], term) for name, term in objective.terms.items() if term.taps}
        found.append(Objective(encoder, table, checkpointing))
    return SimultaneousObjective(found[0], found[1:]) if len(found) > 1 else found[0]


def _mean(values: Sequence[TermValue], sizes: int) -> TermValue:
    """Return the mean over sizes; a size at which a term has no room, or none at a tap, counts as 0 there."""
    taps = dict.fromkeys(tap for value in values for tap in value.parts)
    parts = {tap: torch.stack([each.parts[tap] for each in values if tap in each.parts]).sum(0) for tap in taps}
    total = torch.stack([value.total for value in values]).sum(0)
    return TermValue(total / sizes, {tap: part / sizes for tap, part in parts.items()})


def _of_size(state: Mapping[str, Mapping[str, Tensor]], halving: int) -> dict[str, Mapping[str, Tensor]]:
    names = {name: name.partition(":") for name in state}
    return {term: state[name] for name, (term, _, of) in names.items() if int(of or 0) == halving}
