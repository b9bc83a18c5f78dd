"""`python -m src.mesh mesh.path=MODEL style=NAME`: paint the texture of a 3D model. See --help."""

from src.cli.command import run_command
from src.cli.help import MESH_HELP, options_help
from src.mesh.config import MESH_OPTIONS, MeshConfig, job_folder


def main() -> None:
    """Run the command."""
    run_command(
        "mesh", MeshConfig, "src.mesh.job:paint", lambda: options_help(MESH_HELP, MeshConfig, MESH_OPTIONS), job_folder
    )


if __name__ == "__main__":
    main()
