"""The palette term: the style's colours and colour differences, by sliced Wasserstein distance."""

from collections.abc import Sequence

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.ops.guides import joined as joined_guides
from src.ops.palette import Palette, block_guides
from src.transfer.terms.base import Inputs, Measured, Term, TermValue


class PaletteTerm(Term):
    """Distance between the distributions of colours of image and style, in the encoder's input statistics.

    Args:
        encoder: normalises the image.
    """

    name = "palette"
    target_of = ("style",)
    masks = True
    target: Palette

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def restrict(self, encoder: Encoder, inputs: Inputs) -> None:
        """Keep the weights of the image's blocks of pixels."""
        if inputs.mask is not None:
            self.guides = block_guides(inputs.mask, inputs.guides)

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep the styles' sorted colours, resampled to as many as the result has pixels."""
        height, width = inputs.content.shape[2:]
        styles = [encoder.normalize(style.image) for style in inputs.styles]
        masks = [style.mask for style in inputs.styles]
        guides = [None if mask is None else block_guides(mask, inputs.guides) for mask in masks]
        self.target = Palette(styles, (height, width), [style.weight for style in inputs.styles], guides)

    def __call__(self, measured: Measured) -> TermValue:
        """Return the palette loss."""
        return TermValue(self.target.loss(self.encoder.normalize(measured.image), measured.sparing, self.guides))

    @classmethod
    def join(cls, terms: Sequence["PaletteTerm"]) -> "PaletteTerm":
        """Return the term of a batch."""
        joined = cls(terms[0].encoder)
        joined.target = Palette.joined([term.target for term in terms])
        joined.guides = joined_guides([term.guides for term in terms])
        return joined
