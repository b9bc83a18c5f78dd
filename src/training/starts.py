"""Where images start: made once for runs beside one another that begin alike."""

import logging

from torch import Tensor

from src.common.platform import now
from src.config.schema import RunConfig
from src.transfer.canvas import starting_image

log = logging.getLogger(__name__)


Key = tuple[object, ...]


class Starts:
    """Makes starting images, and keeps those that take long where others may ask for the same.

    Attributes:
        shared: whether there are others; a run by itself would keep a picture for nothing.
    """

    def __init__(self) -> None:
        self.shared = False
        self._kept: dict[Key, tuple[Tensor, float]] = {}

    def make(
        self, config: RunConfig, checksums: tuple[str, str], content: Tensor, style: Tensor, given: Tensor | None
    ) -> Tensor:
        """Return a start, (1, 3, H, W) in [0, 1].

        Args:
            config: says which; runs that share starts have the same `init`.
            checksums: of the content's file and the style's.
            content: (1, 3, H, W) in [0, 1].
            style: (1, 3, H', W') in [0, 1].
            given: as of `starting_image`.
        """
        if config.init.name != "patchwork":
            return starting_image(config.init, content, style, config.seed, given)
        key = _key(config, checksums, content, style)
        if made := key not in self._kept:
            self.keep(config, checksums, content, style)
        start, seconds = self._kept[key] if self.shared else self._kept.pop(key)
        if made or not self.shared:
            log.info("start: the content in patches of the style, in %.1f s", seconds)
        return start.clone().to(content)

    def keep(self, config: RunConfig, checksums: tuple[str, str], content: Tensor, style: Tensor) -> None:
        """Make a patchwork for whoever asks for it next; arguments as of `make`."""
        begun = now(content.device)
        start = starting_image(config.init, content, style, config.seed, None)
        self._kept[_key(config, checksums, content, style)] = start, now(content.device) - begun


def _key(config: RunConfig, checksums: tuple[str, str], content: Tensor, style: Tensor) -> Key:
    return checksums, content.shape, style.shape, config.seed
