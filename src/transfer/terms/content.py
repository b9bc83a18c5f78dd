"""The content term: squared distance of features to the content image's (eq. 1)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing, feature_maps
from src.ops.gram import at_least_float32, squared_distance
from src.ops.guides import joined as joined_guides
from src.ops.losses import LossForm
from src.transfer.terms.base import Inputs, Measured, Term, TermValue


class ContentTerm(Term):
    """sum (F - P)^2 at one tap, scaled as the loss form says.

    Args:
        tap: where features are compared.
        form: gives the scale.
    """

    name = "content"
    target_of = ("content",)
    target: tuple[Tensor, Tensor | float]

    def __init__(self, tap: str, form: LossForm) -> None:
        self.taps = (tap,)
        self.form = form

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep the content image's features P, (1, C, H, W), and the loss form's scale for them."""
        (tap,) = self.taps
        self._keep(at_least_float32(feature_maps(encoder, inputs.content, self.taps, checkpointing)[tap]))

    def _keep(self, features: Tensor) -> None:
        guide = self.guides.get(self.taps[0])
        counted = features if guide is None else features * guide.sqrt()
        self.target = features, self.form.content_factor(counted)

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the squared distance, (B,)."""
        return {"distance": squared_distance(features, self.target[0][:, :, rows], self.guide(tap, rows))}

    def __call__(self, measured: Measured) -> TermValue:
        """Return the content loss."""
        (tap,) = self.taps
        return TermValue(self.target[1] * measured.sums[tap]["distance"])

    @classmethod
    def join(cls, terms: Sequence["ContentTerm"]) -> "ContentTerm":
        """Return the term of a batch."""
        joined = cls(terms[0].taps[0], terms[0].form)
        joined.guides = joined_guides([term.guides for term in terms])
        joined._keep(torch.cat([term.target[0] for term in terms]))
        return joined
