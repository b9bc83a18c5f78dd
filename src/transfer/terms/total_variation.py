"""The total variation term: smoothness of the image itself."""

from collections.abc import Sequence

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.ops.losses import TV_FORMS
from src.transfer.terms.base import Inputs, Measured, Term, TermValue


class TotalVariationTerm(Term):
    """Total variation; it has no target.

    Args:
        form: a name of `TV_FORMS`.
    """

    name = "tv"
    target_of = ()

    def __init__(self, form: str = "squares") -> None:
        self.form = form

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Do nothing."""

    def __call__(self, measured: Measured) -> TermValue:
        """Return the total variation, a mean over pixels."""
        return TermValue(TV_FORMS[self.form](measured.image))

    @classmethod
    def join(cls, terms: Sequence["TotalVariationTerm"]) -> "TotalVariationTerm":
        """Return the term of a batch."""
        return cls(terms[0].form)
