"""`python -m src.video content.path=CLIP`: stylise a video clip. See --help."""

from src.cli.command import run_command
from src.cli.help import VIDEO_HELP, options_help
from src.video.config import VIDEO_OPTIONS, VideoConfig, job_folder


def main() -> None:
    """Run the command."""
    run_command(
        "video",
        VideoConfig,
        "src.video.clip:stylise",
        lambda: options_help(VIDEO_HELP, VideoConfig, VIDEO_OPTIONS),
        job_folder,
    )


if __name__ == "__main__":
    main()
