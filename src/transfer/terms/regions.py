"""A style term over the regions of masks: each region of the image against the same region of the styles."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from src.common.errors import InputError
from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.transfer.terms.base import Inputs, Measured, Term, TermValue

log = logging.getLogger(__name__)


class RegionTerm(Term):
    """sum_r a_r L_r with L_r the loss of region r and a_r its share of the area of all regions.

    A region is left out at taps where it has less than one position, in the image or in all styles.

    Args:
        term: computes L_r; each region has a copy.

    Attributes:
        target: share and term of each region by its number.
    """

    target_of = ("content", "style")
    target: dict[str, tuple[float, Term]]

    def __init__(self, term: Term) -> None:
        self.term = term
        self.name = term.name

    @property
    def taps(self) -> tuple[str, ...]:  # type: ignore[override]
        """Return the taps that any region reads."""
        if not self.target:
            return self.term.taps
        return tuple(tap for tap in self.term.taps if any(tap in term.taps for _, term in self.target.values()))

    def restrict(self, encoder: Encoder, inputs: Inputs) -> None:
        """Do nothing: a region is part of the target."""

    def set_target(self, encoder: Encoder, inputs: Inputs, checkpointing: Checkpointing) -> None:
        """Measure the target of each region; log where regions are left out.

        Raises:
            InputError: every region is left out everywhere.
        """
        regions = inputs.regions
        assert regions is not None
        areas = regions.shares.mean((0, 2, 3))
        self.target, missing = {}, []
        for number, share in enumerate((areas / areas.sum().clamp_min(1e-12)).tolist()):
            term = copy.copy(self.term)
            term.load_search_state({})
            term.restrict(encoder, inputs.region(number))
            term.set_target(encoder, inputs.region(number), checkpointing)
            left = [tap for tap in term.taps if tap in term.guides and tap in term.target]
            if gone := [tap for tap in term.taps if tap not in left]:
                missing.append(f"{regions.labels[number]} at {', '.join(gone)}")
                term.keep_taps(left)
            if left or not self.term.taps:
                self.target[str(number)] = share, term
        if not self.target:
            simple = "" if regions.guides == "simple" else f"guides=simple, not guides={regions.guides}, "
            raise InputError(
                "every region of content.mask or style.mask is too small for the style layers at this size; use "
                f"{simple}a larger edge or layers of earlier blocks"
            )
        if missing:
            height, width = inputs.content.shape[2:]
            log.info("%dx%d px, %s: regions are left out where they have less than one position: %s", width, height,
                     self.name, "; ".join(missing))  # fmt: skip

    def read(self, tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        """Return the sums of each region."""
        return {
            f"{number}/{key}": value
            for number, (_, term) in self.target.items()
            if tap in term.taps
            for key, value in term.read(tap, features, rows).items()
        }

    def __call__(self, measured: Measured) -> TermValue:
        """Return the weighted sum over the regions, and that of their parts."""
        total = measured.image.new_zeros(len(measured.image))
        parts = dict.fromkeys(self.taps, total)
        sums = {tap: _by_region(found) for tap, found in measured.sums.items()}
        for number, (share, term) in self.target.items():
            own = {tap: sums[tap][number] for tap in term.taps}
            value = term(replace(measured, sums=own))
            total = total + share * value.total
            parts |= {tap: parts[tap] + share * part for tap, part in value.parts.items()}
        return TermValue(total, parts)

    @classmethod
    def join(cls, terms: Sequence["RegionTerm"]) -> "RegionTerm":
        """Return the term of a batch of one: runs with masks run alone."""
        (term,) = terms
        return term

    @property
    def pending_taps(self) -> tuple[str, ...]:
        """Return the taps that any region has to search at."""
        return tuple(dict.fromkeys(tap for _, term in self.target.values() for tap in term.pending_taps))

    def search(self, maps: Mapping[str, Tensor]) -> None:
        """Search in each region that has not done so."""
        for _, term in self.target.values():
            term.search({tap: maps[tap] for tap in term.pending_taps if tap in maps})

    def search_again(self, step: int) -> None:
        """Search anew in each region at the next evaluation."""
        for _, term in self.target.values():
            term.search_again(step)

    def search_state(self) -> dict[str, Tensor]:
        """Return the results of the searches of all regions."""
        return {
            f"{number}/{name}": found
            for number, (_, term) in self.target.items()
            for name, found in term.search_state().items()
        }

    def load_search_state(self, state: Mapping[str, Tensor]) -> None:
        """Give each region its results."""
        found = _by_region(state)
        for number, (_, term) in self.target.items():
            term.load_search_state(found.get(number, {}))


def _by_region(named: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return values by number of the region and by the name that follows it."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in named.items():
        number, _, rest = name.partition("/")
        found.setdefault(number, {})[rest] = value
    return found
