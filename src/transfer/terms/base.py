"""Base class of terms: weighted summands of the objective."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.ops.guides import guide, shares_of_positions


@dataclass(frozen=True)
class StyleImage:
    """One of the style images of a run, at one scale.

    Attributes:
        image: (1, 3, H', W') in [0, 1], at a size of its own.
        weight: its share of the mixture; the shares of a run's styles sum to 1.
        mask: (1, 1, H', W') in [0, 1], the weight of each pixel; None: 1.
        regions: (1, R, H', W') in [0, 1], the share of each pixel in each of the regions; None without any.
    """

    image: Tensor
    weight: float = 1.0
    mask: Tensor | None = None
    regions: Tensor | None = None


@dataclass(frozen=True)
class Regions:
    """The regions that a mask divides the content image into.

    Attributes:
        shares: (1, R, H, W) in [0, 1], the share of each pixel in each region.
        labels: of the regions, for messages.
        guides: how they are carried down to feature maps; see `ops.guides`.
    """

    shares: Tensor
    labels: tuple[str, ...]
    guides: str = "simple"


@dataclass(frozen=True)
class Reference:
    """An image that the result stays near.

    Attributes:
        image: (1, 3, H, W) in [0, 1], at the size of the result.
        weight: (1, 1, H, W) in [0, 1], how much each pixel counts.
    """

    image: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Inputs:
    """The images that targets are measured on.

    Attributes:
        content: (1, 3, H, W) content image in [0, 1], at the size of the result.
        styles: one or several style images, each of a weight above 0; the first is the main one.
        mask: (1, 1, H, W) in [0, 1], weight of each content pixel (its alpha, or one region); None: every pixel counts.
        guides: how `mask` is carried down to feature maps; see `ops.guides`.
        regions: of the content image, each of which is compared with the same region of the styles; None without any.
        kept: (1, 1, H, W) in [0, 1], the share of the content in each pixel of the result; None: 0.
        is_region: `mask` is a region, which is left out at taps where it has less than one position.
        references: images that the result stays near.
    """

    content: Tensor
    styles: tuple[StyleImage, ...]
    mask: Tensor | None = None
    guides: str = "simple"
    regions: Regions | None = None
    kept: Tensor | None = None
    is_region: bool = False
    references: tuple[Reference, ...] = ()

    @classmethod
    def of(cls, content: Tensor, style: Tensor) -> Self:
        """Return the inputs of a run with a single style."""
        return cls(content, (StyleImage(style),))

    def region(self, number: int) -> "Inputs":
        """Return the inputs of a single region: what is outside of it does not count."""
        assert self.regions is not None
        mask, guides = self.regions.shares[:, number : number + 1], self.regions.guides
        styles = tuple(
            replace(style, mask=None if style.regions is None else style.regions[:, number : number + 1], regions=None)
            for style in self.styles
        )
        return replace(self, styles=styles, mask=mask, guides=guides, regions=None, is_region=True)

    def kept_in(self, image: Tensor) -> Tensor:
        """Return an image (B, 3, H, W) with the content's pixels where they are kept."""
        return image if self.kept is None else torch.lerp(image, self.content, self.kept)

    @property
    def style(self) -> Tensor:
        """Return the first style image, (1, 3, H', W'): what start images and measures of the result refer to."""
        return self.styles[0].image


@dataclass(frozen=True)
class Measured:
    """What a term computes its value from.

    Attributes:
        image: (B, 3, H, W) in [0, 1].
        sums: by tap, what the term's `read` returned, summed over all positions.
        positions: by tap, the number of positions (height x width) of its feature map.
        sparing: save memory at the cost of time, as activations are checkpointed.
    """

    image: Tensor
    sums: Mapping[str, Mapping[str, Tensor]]
    positions: Mapping[str, int]
    sparing: bool = False


@dataclass(frozen=True)
class TermValue:
    """The value of a term, (B,), and of its parts by tap where it has any, (B,) each, without their weights."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Term(ABC):
    """One summand of L_total = sum_k weight_k term_k(image). Its value is one number per sample, (B,).

    A term reads pixels, or features at `taps` through sums over positions, which are exact whether a feature map is
    computed as a whole or in bands of rows. Adding a term takes one file with a subclass, its weight as an option, and
    a builder in `objective.TERMS`.

    Attributes:
        name: its name in the objective's table, in metrics (`loss/NAME`) and in records.
        taps: where it reads features.
        target_of: the inputs that `set_target` depends on, besides the content's size; runs of a batch with equal ones
            share the target.
        masks: whether a mask of the style images limits what the target is measured on, so that the term can compare
            regions (`regions.RegionTerm`).
        target: what `set_target` keeps.
        guides: weights of positions by tap, of mean 1, that `restrict` keeps; none: 1 everywhere.
    """

    name: str
    masks: ClassVar[bool] = False
    target_of: ClassVar[tuple[str, ...]] = ("content", "style")
    taps: tuple[str, ...] = ()
    target: Any = None
    guides: Mapping[Any, Tensor] = MappingProxyType({})

    def restrict(self, encoder: Encoder, inputs: Inputs) -> None:
        """Count only what `inputs.mask` says of the image; called before `set_target`."""
        if inputs.mask is not None:
            least = 1.0 if inputs.is_region else 0.0  # transparent pixels never count, however few others there are
            self.guides = tap_guides(encoder, self.taps, inputs.mask, inputs.guides, least)

    def guide(self, tap: str, rows: slice) -> Tensor | None:
        """Return the weights of the positions in some rows of a tap, (1 or B, 1, h, w); None: 1 everywhere."""
        weights = self.guides.get(tap)
        return None if weights is None else weights[:, :, rows]

    def keep_taps(self, taps: Sequence[str]) -> None:
        """Leave out all other taps, where a region has no position."""
        raise NotImplementedError

    @abstractmethod
    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Measure the target once, without gradient."""

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return sums over the positions of features (B, C, h, W), which are these rows of the whole map.

        Every value is (B, ...); the names are always the same.
        """
        return {}

    @abstractmethod
    def __call__(self, measured: Measured) -> TermValue:
        """Return the value, differentiable in the image."""

    @classmethod
    @abstractmethod
    def join(cls, terms: Sequence[Self]) -> Self:
        """Return the term of a batch: sample b is measured against the target of `terms[b]`."""

    # Terms that compare with something found by a search, which is kept for some steps, override the rest.

    @property
    def pending_taps(self) -> tuple[str, ...]:
        """Return the taps whose whole feature maps `search` has to see before they are read."""
        return ()

    def search(self, maps: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Search in feature maps (B, C, H, W) of the present image, detached, at some of the pending taps."""

    def search_again(self, step: int) -> None:
        """Search anew at the next evaluation, which is of this step."""
        self.load_search_state({})

    def search_state(self) -> dict[str, Tensor]:
        """Return the results of the search by name, (B, ...) each, for a checkpoint."""
        return {}

    def load_search_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Take the results of a search; what is missing is searched at the next evaluation."""


def tap_guides(encoder: Encoder, taps: Iterable[str], mask: Tensor, kind: str, least: float = 1.0) -> dict[str, Tensor]:
    """Return the weights that a mask (1, 1, H, W) gives the positions of taps, (1, 1, h, w) of mean 1 each.

    Taps where it has less than `least` positions are left out.
    """
    found = {}
    for tap in taps:
        info, size = encoder.taps[tap], encoder.feature_size(mask.shape[2:], tap)
        weights = guide(shares_of_positions(mask, size, info.stride, info.reach, kind), least)
        if weights is not None:
            found[tap] = weights
    return found
