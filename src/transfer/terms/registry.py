"""The style terms by name, as `loss.terms` takes them; importing this loads no torch."""

import math
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from src.common.errors import InputError
from src.config.schema import Loss, RunConfig

if TYPE_CHECKING:
    from src.transfer.terms.layers import LayerTerm

# name -> MODULE:CLASS
STYLE_TERMS = {
    "gram": "src.transfer.terms.style:GramTerm",
    "moments": "src.transfer.terms.style:MomentsTerm",
    "mean_std": "src.transfer.terms.style:MeanStdTerm",
    "wasserstein": "src.transfer.terms.wasserstein:WassersteinTerm",
    "absolute_wasserstein": "src.transfer.terms.wasserstein:AbsoluteWassersteinTerm",
    "sliced_wasserstein": "src.transfer.terms.sliced_wasserstein:SlicedWassersteinTerm",
    "cmd": "src.transfer.terms.cmd:CentralMomentTerm",
    "nearest": "src.transfer.terms.nearest:NearestTerm",
}


def style_term(name: str) -> "type[LayerTerm]":
    """Return the class of a style term."""
    found: type[LayerTerm] = resolve_name(STYLE_TERMS[name])
    return found


def term_weights(loss: Loss) -> dict[str, float]:
    """Return the weights of `loss.terms` by name."""
    return dict(zip(loss.terms, loss.term_weights or [1.0] * len(loss.terms), strict=True))


def check_terms(config: RunConfig) -> None:
    """Check the names and weights of `loss.terms`.

    Raises:
        InputError: with the right names, or the bad weights.
    """
    terms, weights = config.loss.terms, config.loss.term_weights
    for name in terms:
        if name not in STYLE_TERMS:
            raise InputError(f"loss.terms: {name} is unknown; the style terms: {', '.join(STYLE_TERMS)}")
    if len(set(terms)) < len(terms):
        raise InputError(f"loss.terms names a term twice: {terms}")
    if weights is not None and (
        len(weights) != len(terms) or not all(0 <= weight < math.inf for weight in weights) or not any(weights)
    ):
        raise InputError(f"loss.term_weights needs one number >= 0 for each of loss.terms={terms}, not {weights}")
