"""The total variation term: smoothness of the image itself."""

from collections.abc import Sequence

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.ops.guides import guide
from src.ops.guides import joined as joined_guides
from src.ops.losses import TV_FORMS
from src.transfer.terms.base import Inputs, Measured, Term, TermValue

PIXELS = "pixels"


class TotalVariationTerm(Term):
    """Total variation; it has no target.

    Args:
        form: a name of `TV_FORMS`.
    """

    name = "tv"
    target_of = ()

    def __init__(self, form: str = "squares") -> None:
        self.form = form

    def restrict(self, encoder: Encoder, inputs: Inputs) -> None:
        """Keep the weights of the pixels."""
        if inputs.mask is not None and (weights := guide(inputs.mask, least=0)) is not None:
            self.guides = {PIXELS: weights}

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Do nothing."""

    def __call__(self, measured: Measured) -> TermValue:
        """Return the total variation, a mean over pixels."""
        return TermValue(TV_FORMS[self.form](measured.image, self.guides.get(PIXELS)))

    @classmethod
    def join(cls, terms: Sequence["TotalVariationTerm"]) -> "TotalVariationTerm":
        """Return the term of a batch."""
        joined = cls(terms[0].form)
        joined.guides = joined_guides([term.guides for term in terms])
        return joined
