"""Which jobs of a sweep form a batch: jobs that differ only in options that each sample has for itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from src.common.errors import InputError
from src.config.identity import identity
from src.config.schedule import halvings, stages
from src.config.schema import Picture, RunConfig, blended, masks, plain, style_scales, style_shares
from src.data.sources import find_picture
from src.encoders.registry import encoder_spec, positions, read_taps, rounds_up

# Options that each pair of a batch has for itself.
OWN = ("content", "style", "blend", "seed", "stop_at_loss", "logger", "resume")
OWN_LOSS = ("alpha", "beta")
OWN_LAYERS = ("name", "weights")
# What a batch cannot do.
LINE_SEARCH = "optimizer=lbfgs cannot be batched: each pair needs its own line search"
MASKS = "runs with masks are evaluated one by one"
MOMENTS = "schedule.carry cannot be batched: moments are resized for one pair only"
TURNS = "runs whose cameras turn are evaluated one by one"


@dataclass
class Groups:
    """Jobs by their index.

    Attributes:
        together: batches of two or more.
        alone: jobs that run by themselves.
        reasons: why a job cannot be part of a batch, where its options forbid it.
    """

    together: list[list[int]] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)


def grouped(jobs: Sequence[RunConfig | None], size: int) -> Groups:
    """Group jobs into batches, in the order of their first jobs.

    Args:
        jobs: options; None for a job that runs by itself.
        size: largest batch.
    """
    found = Groups()
    alike: dict[tuple[str, str], list[int]] = {}
    seen: set[str] = set()
    sizes = WorkingSizes()
    for index, config in enumerate(jobs):
        if config is None:
            continue
        if reason := obstacle(config):
            found.reasons[index] = reason
            continue
        if (own := _text(identity(config))) in seen:  # a repeated job: its run will be finished by then
            continue
        seen.add(own)
        try:
            alike.setdefault((_text(common(config)), sizes.of(config)), []).append(index)
        except InputError:
            continue  # an image that cannot be used: the job reports it
    batches = [some[start : start + size] for some in alike.values() for start in range(0, len(some), size)]
    found.together = sorted(batch for batch in batches if len(batch) > 1)
    batched = {index for batch in found.together for index in batch}
    found.alone = [index for index in range(len(jobs)) if index not in batched]
    return found


def obstacle(config: RunConfig) -> str:
    """Return why a configuration cannot be part of a batch, or an empty string."""
    if config.optimizer.name != "adam":
        return LINE_SEARCH
    if masks(config):
        return MASKS
    if config.canvas.turns > 1:
        return TURNS
    return MOMENTS if config.schedule.carry else ""


def common(config: RunConfig) -> dict[str, object]:
    """Return the options that jobs of one batch must have in common."""
    spec = {key: value for key, value in plain(config).items() if key not in OWN}
    for part, own in (("loss", OWN_LOSS), ("layers", OWN_LAYERS)):
        spec[part] = {key: value for key, value in spec[part].items() if key not in own}
    return spec


class WorkingSizes:
    """The sizes at which pairs are optimised; the header of each image is read once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, config: RunConfig) -> str:
        """Return what has to agree for two pairs to share a batch, as text.

        It is the size of the result at each stage, and how many style layers are large enough for a patch.

        Raises:
            InputError: an image cannot be used.
        """
        from src.data.images import working_size
        from src.ops.patches import PATCH_SIZE as SIZE

        content = self._size("content", config.content, config.mirror)
        weighted = zip([config.style, *blended(config)], style_shares(config), strict=True)
        styles = [self._size("style", picture, config.mirror) for picture, weight in weighted if weight > 0]
        spec = encoder_spec(config.backbone.name)
        strides = [spec.taps[tap].stride for tap in read_taps(config)[0]]
        up = rounds_up(config.backbone.pool)
        found = []
        for stage in stages(config):
            edges = [max(1, round(stage.edge * scale)) for scale in style_scales(config)]
            short = min(min(working_size(style, edge, config.fit)) for style in styles for edge in edges)  # type: ignore[arg-type]
            halved = [short >> number for number in range(halvings(config, stage.edge) + 1)]
            patched = [sum(positions(side, stride, up) >= SIZE for stride in strides) for side in halved]
            if config.loss.patches > 0 and not spec.regular:
                patched = halved  # how many layers have room is known to the network alone
            found.append((working_size(content, stage.edge, config.fit), patched))  # type: ignore[arg-type]
        return _text(found)

    def _size(self, kind: str, picture: Picture, mirror: str | None) -> tuple[int, int]:
        from src.data.images import picture_size

        key = _text([kind, picture.path, picture.package, picture.url])
        if key not in self._known:
            self._known[key] = picture_size(find_picture(kind, picture, mirror).path)
        return self._known[key]


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
