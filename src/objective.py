"""The total loss of an image: targets measured once, terms per layer, one value per sample."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from src.backbones.extractor import Extractor
from src.backbones.registry import block_of
from src.config import Loss, RunConfig, taps
from src.core.losses import LOSS_FORMS, StyleTarget, total_variation
from src.core.palette import Palette
from src.core.patches import SIZE, StylePatches
from src.core.statistics import widened


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
        content_of: "Objective | None" = None,
        style_of: "Objective | None" = None,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.taps = taps
        self.loss = loss
        self.form = LOSS_FORMS[loss.name]
        self.alpha: float | Tensor = loss.alpha
        self.beta: float | Tensor = loss.beta
        self.weights: Mapping[str, float | Tensor] = taps.style
        self.asked = loss.alpha > 0, loss.beta > 0
        self.matches: dict[str, Tensor] = {}
        self._assembled: dict[str, Tensor] = {}
        self.content_target: Tensor
        self.style_targets: dict[str, StyleTarget]
        self.patches: Mapping[str, StylePatches]
        self.palette: Palette | None
        with torch.no_grad():
            if content_of is not None:
                self.content_target = content_of.content_target
            else:
                self.content_target = widened(extractor(content, [taps.content])[taps.content])
            if style_of is not None:
                self.style_targets, self.patches = style_of.style_targets, style_of.patches
                self.palette = style_of.palette
            else:
                self._measure_style(style, (content.shape[2], content.shape[3]))

    def _measure_style(self, style: Tensor, size: tuple[int, int]) -> None:
        taps, loss = self.taps.style, self.loss
        measured = {tap: widened(each) for tap, each in self.extractor(style, taps).items()}
        self.style_targets = {tap: StyleTarget.of(measured[tap]) for tap in taps}
        deep = [tap for tap in taps if block_of(tap) > 1 and min(measured[tap].shape[-2:]) >= SIZE]
        self.patches = {
            tap: StylePatches(measured[tap], self.extractor.compute_dtype or style.dtype)
            for tap in (deep if self.form.extended and loss.patches > 0 else ())
        }
        self.palette = Palette(style, size) if self.form.extended and loss.palette > 0 else None

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
        wanted = [*(self.taps.style if with_style else ()), *([self.taps.content] if with_content else ())]
        features = self.extractor(normalized, wanted)
        total = normalized.new_zeros(normalized.shape[0])
        content = style = palette = variation = None
        layers: dict[str, Tensor] = {}
        if with_content:
            content = self.form.content(features[self.taps.content], self.content_target)
            total = total + self.alpha * content
        if with_style:
            layers = {tap: self._style(tap, features[tap]) for tap in self.taps.style}
            style = torch.stack([weight * layers[tap] for tap, weight in self.weights.items()]).sum(0)
            total = total + self.beta * style
            if self.palette is not None:
                palette = self.palette.loss(normalized)
                total = total + self.beta * self.loss.palette * palette
        if self.loss.tv > 0:
            variation = total_variation(self.extractor.denormalize(normalized))
            total = total + self.loss.tv * variation
        return Terms(total, content, style, layers, palette, variation)

    def _style(self, tap: str, features: Tensor) -> Tensor:
        statistics = self.form.style(features, self.style_targets[tap])
        if tap not in self.patches:
            return statistics
        patches = self.patches[tap]
        with torch.no_grad():
            if tap not in self.matches:
                self.matches[tap] = patches.nearest(widened(features))
            if tap not in self._assembled:
                self._assembled[tap] = patches.assembled(self.matches[tap], features)
        share = self.loss.patches
        return (1 - share) * statistics + share * patches.loss(features, self._assembled[tap])

    def forget_matches(self, matches: Mapping[str, Tensor] | None = None) -> None:
        """Look the nearest patches up again at the next evaluation, or take these, from a checkpoint, for nearest."""
        self.matches = {tap: places.to(self.content_target.device) for tap, places in (matches or {}).items()}
        self._assembled = {}
