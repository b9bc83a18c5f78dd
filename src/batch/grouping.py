"""Which jobs of a sweep go together: those that differ in nothing but what each sample of a batch has for itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from src.common.errors import InputError
from src.config.identity import identity
from src.config.schema import Picture, RunConfig, plain, taps
from src.data.sources import find_picture
from src.encoders.registry import block_of

# What each pair of a batch has for itself.
OWN = ("content", "style", "seed", "stop_at_loss", "logger", "resume")
OWN_LOSS = ("alpha", "beta")
OWN_LAYERS = ("name", "weights")
# What a batch has not for each sample.
LINE_SEARCH = "optimizer=lbfgs searches along a line of its own for each pair"
MOMENTS = "schedule.carry takes an optimiser's moments from size to size"


@dataclass
class Groups:
    """Jobs by their numbers.

    Attributes:
        together: batches of two and more.
        alone: jobs that run by themselves.
        reasons: why, where it is the job itself that cannot be batched.
    """

    together: list[list[int]] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)


def grouped(jobs: Sequence[RunConfig | None], size: int) -> Groups:
    """Return batches of at most `size` jobs, in the order of their first ones.

    Args:
        jobs: options; None for a job that is to run by itself.
        size: the most that go together.
    """
    found = Groups()
    alike: dict[str, list[int]] = {}
    seen: set[str] = set()
    for number, config in enumerate(jobs):
        if config is None:
            continue
        if reason := _obstacle(config):
            found.reasons[number] = reason
            continue
        if (own := _text(identity(config))) in seen:  # the same again: finished by the time it has its turn
            continue
        seen.add(own)
        alike.setdefault(_text(common(config)), []).append(number)
    sizes = Sizes()
    for numbers in alike.values():
        if len(numbers) == 1:
            continue
        of_a_size: dict[object, list[int]] = {}
        for number in numbers:
            config = jobs[number]
            assert config is not None
            if (shape := sizes.of(config)) is not None:
                of_a_size.setdefault(shape, []).append(number)
        for some in of_a_size.values():
            found.together += [some[start : start + size] for start in range(0, len(some), size)]
    found.together = sorted(batch for batch in found.together if len(batch) > 1)
    batched = {number for batch in found.together for number in batch}
    found.alone = [number for number in range(len(jobs)) if number not in batched]
    return found


def _obstacle(config: RunConfig) -> str:
    if config.optimizer.name != "adam":
        return LINE_SEARCH
    return MOMENTS if config.schedule.carry else ""


def common(config: RunConfig) -> dict[str, object]:
    """Return what jobs of one batch have in common."""
    spec = {key: value for key, value in plain(config).items() if key not in OWN}
    for part, own in (("loss", OWN_LOSS), ("layers", OWN_LAYERS)):
        spec[part] = {key: value for key, value in spec[part].items() if key not in own}
    return spec


class Sizes:
    """The sizes at which pairs are optimised; each picture's header is read once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, config: RunConfig) -> object | None:
        """Return what decides whether two pairs of the same options fit into one canvas; None for pictures that cannot
        be used, which is for their own job to say.

        It is the canvas's size at each stage, and how many of the style's layers have room for a patch.
        """
        from src.config.schedule import stages
        from src.data.images import working_size
        from src.ops.patches import SIZE

        try:
            content, style = (self._size(kind, getattr(config, kind), config.mirror) for kind in ("content", "style"))
        except InputError:
            return None
        blocks = [block_of(tap) - 1 for tap in taps(config)[0]]
        found = []
        for stage in stages(config):
            short = min(working_size(style, stage.edge, config.fit))  # type: ignore[arg-type]
            roomy = sum(short // 2**block >= SIZE for block in blocks)
            found.append((working_size(content, stage.edge, config.fit), roomy))  # type: ignore[arg-type]
        return tuple(found)

    def _size(self, kind: str, picture: Picture, mirror: str | None) -> tuple[int, int]:
        from src.data.images import picture_size

        key = _text([kind, picture.path, picture.package, picture.url])
        if key not in self._known:
            self._known[key] = picture_size(find_picture(kind, picture, mirror).path)
        return self._known[key]


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
