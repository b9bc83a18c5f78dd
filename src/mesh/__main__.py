"""`python -m src.mesh mesh.path=MODEL style=NAME`: paint the texture of a 3D model. See --help."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import run_command
from src.cli.help import MESH_HELP, options_help
from src.mesh.config import MESH_OPTIONS, MeshConfig, job_name

if TYPE_CHECKING:
    from omegaconf import DictConfig


def paint(options: "DictConfig", folder: Path) -> str:
    """Paint one model in its folder; return the status of its run."""
    from src.config.schema import typed
    from src.mesh.job import paint

    return paint(typed(options, MeshConfig), folder).status


def main() -> None:
    """Run the command."""
    run_command("mesh", MeshConfig, paint, lambda: options_help(MESH_HELP, MeshConfig, MESH_OPTIONS), job_name)


if __name__ == "__main__":
    main()
