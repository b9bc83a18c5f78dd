"""The reference term: stay near given images where weight maps say so."""

from collections.abc import Sequence

import torch
from torch import Tensor

from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.ops.gram import squared_distance
from src.transfer.terms.base import Inputs, Measured, Term, TermValue


class ReferenceTerm(Term):
    """sum_k w_k (x - r_k)^2 / (3 H W): a mean over pixels and channels, which weights of 0 make smaller.

    With frames warped by optical flow as references it is the temporal loss of Ruder, Dosovitskiy and Brox 2016 (eq. 7
    and 9). `target` holds one image, weight map and constant that stand for all references; see `merged`.
    """

    name = "reference"
    target_of = ("reference",)
    target: tuple[Tensor, Tensor, Tensor]

    def restrict(self, encoder: Encoder, inputs: Inputs) -> None:
        """Do nothing: transparent pixels have no weight in `set_target`."""

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Keep the references."""
        weights = [reference.weight for reference in inputs.references]
        if inputs.mask is not None:
            weights = [weight * inputs.mask for weight in weights]
        self.target = merged([reference.image for reference in inputs.references], weights)

    def __call__(self, measured: Measured) -> TermValue:
        """Return the weighted mean squared distance."""
        reference, weight, constant = self.target
        image = measured.image
        return TermValue((squared_distance(image, reference, weight) + constant) / image[0].numel())

    @classmethod
    def join(cls, terms: Sequence["ReferenceTerm"]) -> "ReferenceTerm":
        """Return the term of a batch."""
        joined = cls()
        image, weight, constant = (torch.cat(parts) for parts in zip(*(term.target for term in terms), strict=True))
        joined.target = image, weight, constant
        return joined


def merged(images: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return one image, one weight map and a constant whose squared distance is that of all images together.

    sum_k w_k (x - r_k)^2 = w (x - r)^2 + c with w = sum_k w_k, r = sum_k w_k r_k / w and c = sum_k w_k (r_k - r)^2.

    Args:
        images: r_k, (B, 3, H, W) each.
        weights: w_k >= 0, (B, 1, H, W) each.

    Returns:
        r (B, 3, H, W), 0 where all weights are 0; w (B, 1, H, W); and c summed over pixels and channels, (B,).
    """
    total = torch.stack(list(weights)).sum(0)
    shares = [weight / total.clamp_min(torch.finfo(total.dtype).tiny) for weight in weights]
    mean = torch.stack([share * image for share, image in zip(shares, images, strict=True)]).sum(0)
    spread = [squared_distance(image, mean, weight) for image, weight in zip(images, weights, strict=True)]
    return mean, total, torch.stack(spread).sum(0)
