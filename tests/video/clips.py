"""Clips as the command composes them."""

from src.config.schema import typed
from src.video.config import VideoConfig
from tests.conftest import SMALL

# A frame in a second: two blocks, a few steps.
TINY = (*SMALL, "loss=moments", "edge=64", "steps=4", "video.steps=2", "log_every=10", "checkpoint_every=2")


def compose_clip(*overrides: str) -> VideoConfig:
    """Return the configuration of `python -m src.video OVERRIDES`."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from src.config.composition import register
    from src.config.schema import CONF

    register("video", VideoConfig)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed(hydra_compose("video", list(overrides)), VideoConfig)
