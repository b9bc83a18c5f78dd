"""The term seam: one weighted summand of the objective."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from torch import Tensor

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing


@dataclass(frozen=True)
class StyleImage:
    """One of the style images of a run, at one scale.

    Attributes:
        image: (1, 3, H', W') in [0, 1], at a size of its own.
        weight: its share of the mixture; the shares of a run's styles sum to 1.
    """

    image: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Inputs:
    """The images that targets are measured on.

    Attributes:
        content: (1, 3, H, W) content image in [0, 1], at the size of the result.
        styles: one or several style images, each of a weight above 0; the first is the main one.
    """

    content: Tensor
    styles: tuple[StyleImage, ...]

    @classmethod
    def of(cls, content: Tensor, style: Tensor) -> Self:
        """Return the inputs of a run with a single style."""
        return cls(content, (StyleImage(style),))

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
        target: what `set_target` keeps.
    """

    name: ClassVar[str]
    target_of: ClassVar[tuple[str, ...]] = ("content", "style")
    taps: tuple[str, ...] = ()
    target: Any = None

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

    def search_fits(self, state: Mapping[str, Tensor], sizes: Mapping[str, tuple[int, int]]) -> bool:
        """Return whether the results of a search may belong to this term.

        Args:
            state: as `search_state` returns for a single sample.
            sizes: height and width of the feature map at each tap.
        """
        return not state

    def load_search_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Take the results of a search; what is missing is searched at the next evaluation."""
