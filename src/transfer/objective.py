"""The objective: a table of weighted terms, L_total = alpha L_content + beta L_style + ... (eq. 7).

alpha and beta are weights of this table and appear nowhere else.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src.common.errors import InputError
from src.config.schema import RunConfig
from src.encoders.base import Encoder
from src.encoders.checkpointing import KEEP_ALL, Checkpointing, accumulate, feature_maps
from src.encoders.registry import encoder_spec, read_taps
from src.ops.losses import LOSS_FORMS
from src.ops.patches import PATCH_SIZE
from src.tracking import names
from src.transfer.terms.base import Inputs, Measured, Term, TermValue
from src.transfer.terms.content import ContentTerm
from src.transfer.terms.palette import PaletteTerm
from src.transfer.terms.patches import PatchTerm
from src.transfer.terms.reference import ReferenceTerm
from src.transfer.terms.regions import RegionTerm
from src.transfer.terms.registry import style_term, term_weights
from src.transfer.terms.self_similarity import SelfSimilarityTerm
from src.transfer.terms.style import StyleTerm
from src.transfer.terms.total_variation import TotalVariationTerm

SELF_SIMILARITY_TAP = "relu4_1"


@dataclass(frozen=True)
class Losses:
    """The values of the objective, (B,) each: the total is weighted, the terms are not.

    Terms of weight zero are missing unless they were asked for.
    """

    total: Tensor
    terms: Mapping[str, TermValue]

    def metrics(self) -> list[dict[str, float]]:
        """Return the values of each sample by metric name, with one transfer from the device."""
        named = {names.TOTAL: self.total}
        for name, value in self.terms.items():
            named[names.loss_key(name)] = value.total
        for name, value in self.terms.items():
            named |= {names.loss_key(name, tap): part for tap, part in value.parts.items()}
        rows = torch.stack([value.detach().to(self.total.dtype) for value in named.values()], 1).tolist()
        return [dict(zip(named, row, strict=True)) for row in rows]


class Objective(nn.Module):
    """The weighted sum of terms of a batch of images.

    Args:
        encoder: the frozen network that features are read from.
        terms: weight and term by name; a weight is a number or (B,).
        checkpointing: which activations are recomputed for the gradient; may be changed at any time.
        kept_in: returns an image with the pixels that stay the content's; None where none do.
    """

    def __init__(
        self,
        encoder: Encoder,
        terms: Mapping[str, tuple[float | Tensor, Term]],
        checkpointing: Checkpointing = KEEP_ALL,
        kept_in: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.kept_in = kept_in
        self.weights = {name: weight for name, (weight, _) in terms.items()}
        self.terms = {name: term for name, (_, term) in terms.items()}
        self.checkpointing = checkpointing
        self.weighted = [name for name, weight in self.weights.items() if bool(torch.as_tensor(weight).any())]

    def forward(self, image: Tensor, full: bool = False) -> Losses:
        """Return the losses of images (B, 3, H, W) in [0, 1].

        Args:
            image: differentiable.
            full: compute terms of weight zero as well, for a report. Otherwise the encoder runs no deeper than the
                terms that carry weight need.
        """
        if self.kept_in is not None:
            image = self.kept_in(image)
        values, total = self.values(image, full), image.new_zeros(image.shape[0])
        for name, value in values.items():
            total = total + self.weights[name] * value.total
        return Losses(total, values)

    def values(self, image: Tensor, full: bool) -> dict[str, TermValue]:
        """Return the values of the terms by name; arguments as of `forward`."""
        active = self.terms if full else {name: self.terms[name] for name in self.weighted}
        self._search_banded(active.values(), image)
        readers: dict[str, list[str]] = {}
        for name, term in active.items():
            for tap in term.taps:
                readers.setdefault(tap, []).append(name)

        def read(tap: str, features: Tensor, rows: slice) -> Mapping[tuple[str, str], Tensor]:
            for name in readers[tap]:
                if tap in active[name].pending_taps:  # not banded: these are all rows
                    active[name].search({tap: features.detach()})
            return {
                (name, key): value
                for name in readers[tap]
                for key, value in active[name].read(tap, features, rows).items()
            }

        found = accumulate(self.encoder, image, readers, read, self.checkpointing)
        size, sparing = image.shape[2:], self.checkpointing.blocks > 0
        values = {}
        for name, term in active.items():
            sums = {tap: {key: each for (owner, key), each in found[tap].items() if owner == name} for tap in term.taps}
            positions = {tap: _positions(self.encoder, size, tap) for tap in term.taps}
            values[name] = term(Measured(image, sums, positions, sparing))
        return values

    def _search_banded(self, terms: Iterable[Term], image: Tensor) -> None:
        """Search in feature maps that the evaluation computes only in parts."""
        pending = {
            term: [tap for tap in term.pending_taps if self.encoder.taps[tap].block <= self.checkpointing.blocks]
            for term in terms
        }
        if any(pending.values()):
            wanted = dict.fromkeys(tap for taps in pending.values() for tap in taps)
            maps = feature_maps(self.encoder, image.detach(), wanted, self.checkpointing)
            for term, taps in pending.items():
                term.search({tap: maps[tap] for tap in taps})

    @property
    def searched(self) -> bool:
        """Return whether the next evaluation needs no search."""
        return not any(self.terms[name].pending_taps for name in self.weighted)

    def search_state(self) -> dict[str, dict[str, Tensor]]:
        """Return the results of all searches by term, for a checkpoint."""
        return {name: state for name, term in self.terms.items() if (state := term.search_state())}

    def search_again(self, step: int) -> None:
        """Search anew at the next evaluation, which is of this step."""
        for term in self.terms.values():
            term.search_again(step)

    def load_search_state(self, state: Mapping[str, Mapping[str, Tensor]] | None = None) -> None:
        """Take the results of searches by term; without any, search anew at the next evaluation."""
        for name, term in self.terms.items():
            found = (state or {}).get(name, {})
            term.load_search_state({tap: each.to(self.encoder.mean.device) for tap, each in found.items()})

    @classmethod
    def join(cls, members: "Sequence[Objective]") -> "Objective":
        """Return the objective of a batch: sample b has the targets and weights of `members[b]`."""
        if len(members) == 1:
            return members[0]
        first = members[0]
        like = first.encoder.mean
        return cls(
            first.encoder,
            {
                name: (
                    like.new_tensor([member.weights[name] for member in members]),
                    type(term).join([member.terms[name] for member in members]),
                )
                for name, term in first.terms.items()
            },
            first.checkpointing,
        )


def _positions(encoder: Encoder, size: Sequence[int], tap: str) -> int:
    height, width = encoder.feature_size(size, tap)
    return height * width


def style_weights(config: RunConfig) -> dict[str, float]:
    """Return w_l of eq. 5 by style tap: as given, or by block with a sum of 1, or 1 each in the published program."""
    style, _ = read_taps(config)
    if config.layers.weights:
        return dict(zip(style, config.layers.weights, strict=True))
    if not LOSS_FORMS[config.loss.name].average_layers:
        return dict.fromkeys(style, 1.0)
    known, by_block = encoder_spec(config.backbone.name).taps, config.loss.block_weights or [1.0]
    weights = {tap: by_block[min(known[tap].block, len(by_block)) - 1] for tap in style}
    return {tap: weight / sum(weights.values()) for tap, weight in weights.items()}


def used_taps(config: RunConfig) -> list[str]:
    """Return every tap that the objective of a configuration may read, each once."""
    style, content = read_taps(config)
    return list(dict.fromkeys([*style, content, *self_similarity_taps(config)]))


def self_similarity_taps(config: RunConfig) -> list[str]:
    """Return the tap that the self-similarity term reads, if there is one: relu4_1, or the content tap without it."""
    if config.loss.self_similarity == 0:
        return []
    spec = encoder_spec(config.backbone.name)
    tap = spec.resolve(SELF_SIMILARITY_TAP)
    return [tap if tap in spec.taps else read_taps(config)[1]]


# Returns weights and terms for a configuration, an encoder and inputs.
TermBuilder = Callable[[RunConfig, Encoder, Inputs], list[tuple[float, Term]]]


def _content(config: RunConfig, encoder: Encoder, inputs: Inputs) -> list[tuple[float, Term]]:
    _, tap = read_taps(config)
    return [(config.loss.alpha, ContentTerm(tap, LOSS_FORMS[config.loss.name]))]


def _self_similarity(config: RunConfig, encoder: Encoder, inputs: Inputs) -> list[tuple[float, Term]]:
    weight = config.loss.alpha * config.loss.self_similarity
    return [(weight, SelfSimilarityTerm(tap)) for tap in self_similarity_taps(config)]


def _style(config: RunConfig, encoder: Encoder, inputs: Inputs) -> list[tuple[float, Term]]:
    loss = config.loss
    # tensors on the device, because copying them there at each step would block
    weights = {tap: encoder.mean.new_tensor(weight) for tap, weight in style_weights(config).items()}
    # With a share s of patches, a layer's style loss is (1 - s) statistics + s patches.
    patched = {
        tap: weight * loss.patches
        for tap, weight in weights.items()
        if loss.patches > 0
        and encoder.taps[tap].stride > 1
        and all(_has_room(encoder, style.image, tap) for style in inputs.styles)
    }
    rest = {tap: weight - patched.get(tap, 0.0) for tap, weight in weights.items()}
    found: list[tuple[float, Term]]
    if loss.terms:
        named = term_weights(loss).items()
        found = [(loss.beta * weight, style_term(name).build(rest, config)) for name, weight in named if weight > 0]
    else:
        found = [(loss.beta, StyleTerm(rest, LOSS_FORMS[loss.name]))]
    return [*found, *([(loss.beta, PatchTerm(patched))] if patched else [])]


def _palette(config: RunConfig, encoder: Encoder, inputs: Inputs) -> list[tuple[float, Term]]:
    loss = config.loss
    return [(loss.beta * loss.palette, PaletteTerm(encoder))] if loss.palette > 0 else []


def _tv(config: RunConfig, encoder: Encoder, inputs: Inputs) -> list[tuple[float, Term]]:
    return [(config.loss.tv, TotalVariationTerm(config.loss.tv_form))] if config.loss.tv > 0 else []


def _reference(config: RunConfig, encoder: Encoder, inputs: Inputs) -> list[tuple[float, Term]]:
    return [(config.loss.reference, ReferenceTerm())] if inputs.references else []


TERMS: list[TermBuilder] = [_content, _self_similarity, _style, _palette, _tv, _reference]


def _has_room(encoder: Encoder, style: Tensor, tap: str) -> bool:
    return min(encoder.feature_size(style.shape[2:], tap)) >= PATCH_SIZE


def build_objective(
    config: RunConfig,
    encoder: Encoder,
    inputs: Inputs,
    checkpointing: Checkpointing = KEEP_ALL,
    targets: "TargetCache | None" = None,
    identities: Mapping[str, object] | None = None,
) -> Objective:
    """Return the objective of a configuration, its targets measured.

    Args:
        config: loss, layers and weights.
        encoder: has the taps.
        inputs: content and style images.
        checkpointing: which activations are recomputed.
        targets: keeps targets that runs of one batch share.
        identities: what the inputs are made of, by name (`content`, `style`); equal ones share targets.
    """
    table = {term.name: (weight, term) for build in TERMS for weight, term in build(config, encoder, inputs)}
    for name, (weight, term) in list(table.items()):
        if inputs.regions is not None and "style" in term.target_of:
            if not term.masks:
                raise InputError(f"the term {name} cannot compare regions: leave out content.mask and style.mask")
            term = RegionTerm(term)
            table[name] = weight, term
        term.restrict(encoder, inputs)
        kinds = {kind: (identities or {}).get(kind) for kind in term.target_of}
        shapes = inputs.content.shape, *(style.image.shape for style in inputs.styles)
        key = (name, term.taps, *kinds.values(), *shapes)
        if targets is not None and None not in kinds.values() and key in targets:
            term.target = targets[key]
            continue
        with torch.no_grad():
            term.set_target(encoder, inputs, checkpointing)
        if targets is not None:
            targets[key] = term.target
    return Objective(encoder, table, checkpointing, None if inputs.kept is None else inputs.kept_in)


TargetCache = dict[tuple[object, ...], object]
