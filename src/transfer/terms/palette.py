"""The palette term: the style's colours and colour differences, by sliced Wasserstein distance."""

from collections.abc import Sequence

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.ops.palette import Palette
from src.transfer.terms.base import Inputs, Measured, Term, TermValue


class PaletteTerm(Term):
    """Distance between the distributions of colours of image and style, in the encoder's input statistics.

    Args:
        encoder: normalises the image.
    """

    name = "palette"
    target_of = ("style",)
    target: Palette

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep the styles' sorted colours, resampled to as many as the result has pixels."""
        height, width = inputs.content.shape[2:]
        styles = [encoder.normalize(style.image) for style in inputs.styles]
        self.target = Palette(styles, (height, width), [style.weight for style in inputs.styles])

    def __call__(self, measured: Measured) -> TermValue:
        """Return the palette loss."""
        return TermValue(self.target.loss(self.encoder.normalize(measured.image), recompute=measured.sparing))

    @classmethod
    def join(cls, terms: Sequence["PaletteTerm"]) -> "PaletteTerm":
        """Return the term of a batch."""
        joined = cls(terms[0].encoder)
        joined.target = Palette.joined([term.target for term in terms])
        return joined
