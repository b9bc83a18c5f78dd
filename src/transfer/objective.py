"""The total loss of an image: targets measured once, terms per layer, one value per sample."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from src.config.schema import Loss, RunConfig, taps
from src.encoders.bands import feature_size, statistics, sums, whole_taps
from src.encoders.recomputation import KEPT, Recomputation
from src.encoders.registry import block_of
from src.encoders.vgg import Extractor
from src.ops.gram import moment_sums, squared_distance, widened
from src.ops.losses import LOSS_FORMS, Statistics, total_variation
from src.ops.palette import Palette
from src.ops.patches import SIZE, StylePatches


@dataclass(frozen=True)
class Terms:
    """The values of the objective, (B,) each; the terms are not weighted, the total is.

    A term whose weight is zero is None unless it was asked for.
    """

    total: Tensor
    content: Tensor | None
    style: Tensor | None
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    palette: Tensor | None = None
    tv: Tensor | None = None


@dataclass(frozen=True)
class Taps:
    """Where the objective reads the network: style taps with their weights, and the content tap."""

    style: dict[str, float]
    content: str

    @classmethod
    def of(cls, config: RunConfig) -> "Taps":
        """Resolve the layer set of a configuration: its form's substitutions and weights (eq. 5, or 1 each)."""
        style, content = taps(config)
        default = 1 / len(style) if LOSS_FORMS[config.loss.name].averaged else 1.0
        return cls(dict(zip(style, config.layers.weights or [default] * len(style), strict=True)), content)

    @property
    def all(self) -> list[str]:
        """Return every tap once."""
        return list(dict.fromkeys([*self.style, self.content]))


class Objective(nn.Module):
    """L_total = alpha L_content + beta (sum_l w_l E_l + p L_palette) + tv TV (eq. 5 and 7).

    Patches and palette (p) belong to loss=patches alone. With a share s of patches, E_l of a layer beyond the first
    block is (1 - s) statistics + s patches. Which style patch is nearest is looked up when it is first needed and
    after every `forget_matches`.

    Args:
        extractor: the frozen network; must have all of `taps`.
        taps: where to read it.
        loss: the form and the weights.
        content: (B, 3, H, W) content image, normalised by the network's statistics.
        style: (B or 1, 3, H', W') style image, likewise; its size is its own.
        recomputed: what is computed anew for the gradient, in place of being kept; may be changed at any time.
        content_of: an objective with the same content image, network and form, whose content target is taken.
        style_of: one with the same style image, content size, network and form, whose style targets are taken.
    """

    def __init__(
        self,
        extractor: Extractor,
        taps: Taps,
        loss: Loss,
        content: Tensor,
        style: Tensor,
        recomputed: Recomputation = KEPT,
        content_of: "Objective | None" = None,
        style_of: "Objective | None" = None,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.taps = taps
        self.loss = loss
        self.form = LOSS_FORMS[loss.name]
        self.recomputed = recomputed
        self.alpha: float | Tensor = loss.alpha
        self.beta: float | Tensor = loss.beta
        self.weights: Mapping[str, float | Tensor] = taps.style
        self.asked = loss.alpha > 0, loss.beta > 0
        self.matches: dict[str, Tensor] = {}
        self._assembled: dict[str, Tensor] = {}
        self.content_target: Tensor
        self.content_factor: float | Tensor
        self.style_targets: dict[str, Statistics]
        self.patches: Mapping[str, StylePatches]
        self.palette: Palette | None
        with torch.no_grad():
            if content_of is not None:
                self.content_target, self.content_factor = content_of.content_target, content_of.content_factor
            else:
                self.content_target = widened(whole_taps(extractor, content, [taps.content], recomputed)[taps.content])
                self.content_factor = self.form.content(self.content_target)
            if style_of is not None:
                self.style_targets, self.patches = style_of.style_targets, style_of.patches
                self.palette = style_of.palette
            else:
                self._measure_style(style, (content.shape[2], content.shape[3]))

    def _measure_style(self, style: Tensor, size: tuple[int, int]) -> None:
        extended, loss = self.form.extended, self.loss
        self.style_targets = statistics(self.extractor, style, self.taps.style, self.recomputed)
        self.patches = self._style_patches(style) if extended and loss.patches > 0 else {}
        self.palette = Palette(style, size) if extended and loss.palette > 0 else None

    def _style_patches(self, style: Tensor) -> dict[str, StylePatches]:
        deep = [tap for tap in self.taps.style if block_of(tap) > 1 and min(feature_size(style, tap)) >= SIZE]
        found = whole_taps(self.extractor, style, deep, self.recomputed)
        dtype = self.extractor.compute_dtype or style.dtype
        return {tap: StylePatches(widened(found.pop(tap)), dtype) for tap in deep}

    @property
    def matched(self) -> bool:
        """Return whether the nearest patches of every layer that asks for them are known."""
        return len(self._assembled) == len(self.patches)

    def forward(self, normalized: Tensor, full: bool = False) -> Terms:
        """Return the terms of an image.

        Args:
            normalized: (B, 3, H, W) in the network's input statistics.
            full: also compute terms of weight zero (for a report); otherwise nothing above the deepest tap that
                carries weight is run.
        """
        with_content, with_style = (full or asked for asked in self.asked)
        style_taps = list(self.taps.style) if with_style else []
        content_taps = [self.taps.content] if with_content else []
        self._match([tap for tap in style_taps if block_of(tap) <= self.recomputed.blocks], normalized)

        def read(tap: str, features: Tensor, rows: slice) -> dict[str, Tensor]:
            found = {}
            if tap in style_taps:
                found["gram"], found["total"] = moment_sums(features)
                if tap in self.patches:
                    self._assemble(tap, features)
                    found["patches"] = squared_distance(features, self._assembled[tap][:, :, rows])
            if tap in content_taps:
                found["content"] = squared_distance(features, self.content_target[:, :, rows])
            return found

        measured = sums(self.extractor, normalized, [*style_taps, *content_taps], read, self.recomputed)
        total = normalized.new_zeros(normalized.shape[0])
        content = style = palette = variation = None
        layers: dict[str, Tensor] = {}
        if with_content:
            content = self.content_factor * measured[self.taps.content]["content"]
            total = total + self.alpha * content
        if with_style:
            layers = {
                tap: self._style(tap, measured[tap], math.prod(feature_size(normalized, tap))) for tap in style_taps
            }
            style = torch.stack([weight * layers[tap] for tap, weight in self.weights.items()]).sum(0)
            total = total + self.beta * style
            if self.palette is not None:
                palette = self.palette.loss(normalized, sparing=self.recomputed.blocks > 0)
                total = total + self.beta * self.loss.palette * palette
        if self.loss.tv > 0:
            variation = total_variation(self.extractor.denormalize(normalized))
            total = total + self.loss.tv * variation
        return Terms(total, content, style, layers, palette, variation)

    def _style(self, tap: str, measured: Mapping[str, Tensor], positions: int) -> Tensor:
        mine = Statistics.of_sums(measured["gram"], measured["total"], positions)
        statistics = self.form.style(mine, self.style_targets[tap])
        if tap not in self.patches:
            return statistics
        share = self.loss.patches
        return (1 - share) * statistics + share * self.patches[tap].relative(measured["patches"], positions)

    def _match(self, taps: list[str], normalized: Tensor) -> None:
        """Look up the nearest patches at taps of which no evaluation has the whole at hand."""
        missing = [tap for tap in taps if tap in self.patches and tap not in self._assembled]
        if not missing:
            return
        found = whole_taps(self.extractor, normalized.detach(), missing, self.recomputed)
        for tap in missing:
            self._assemble(tap, found.pop(tap))

    @torch.no_grad()
    def _assemble(self, tap: str, features: Tensor) -> None:
        """Lay the nearest patches over one another where that has not been done, after looking them up if need be."""
        if tap in self._assembled:
            return
        if tap not in self.matches:
            self.matches[tap] = self.patches[tap].nearest(widened(features))
        self._assembled[tap] = self.patches[tap].assembled(self.matches[tap], features)

    def forget_matches(self, matches: Mapping[str, Tensor] | None = None) -> None:
        """Look the nearest patches up again at the next evaluation, or take these, from a checkpoint, for nearest."""
        self.matches = {tap: places.to(self.content_target.device) for tap, places in (matches or {}).items()}
        self._assembled = {}
