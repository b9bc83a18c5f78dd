"""Clips as the command composes them."""

from src.config.schema import typed
from src.video.config import VideoConfig
from tests.conftest import SMALL
from tests.support.configs import by_hydra

# A frame in a second: two blocks, a few steps.
TINY = (*SMALL, "loss=moments", "edge=64", "steps=4", "video.steps=2", "log_every=10", "checkpoint_every=2")


def compose_clip(*overrides: str) -> VideoConfig:
    """Return the configuration of `python -m src.video OVERRIDES`."""
    return typed(by_hydra("video", VideoConfig, overrides), VideoConfig)
