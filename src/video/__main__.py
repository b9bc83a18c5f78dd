"""`python -m src.video content.path=CLIP`: stylise a video clip. See --help."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import run_command
from src.cli.help import VIDEO_HELP, options_help
from src.video.config import VIDEO_OPTIONS, VideoConfig, clip_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig


def stylise(options: "DictConfig", folder: Path) -> str:
    """Stylise one clip in its folder; return its status."""
    from src.config.schema import typed
    from src.video.clip import stylise

    return stylise(typed(options, VideoConfig), folder).status


def main() -> None:
    """Run the command."""
    run_command(
        "video", VideoConfig, stylise, lambda: options_help(VIDEO_HELP, VideoConfig, VIDEO_OPTIONS), clip_folder
    )


if __name__ == "__main__":
    main()
