"""Save W&B dashboards: `python -m src.dashboard ENTITY/PROJECT` saves a workspace view and a report."""

import argparse
import json
import sys
from collections.abc import Sequence

from src.common.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 for bad input."""
    parser = argparse.ArgumentParser("python -m src.dashboard", description="Save a W&B workspace view and a report.")
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="project of the runs; logger.project is its name")
    parser.add_argument("--dry-run", action="store_true", help="print the specification as JSON, without any network")
    parser.add_argument("--view", metavar="URL", help="update this saved view instead of making a new one")
    args = parser.parse_args(arguments)
    entity, _, project = args.project.partition("/")
    try:
        if not entity or not project or "/" in project:
            raise InputError(f"{args.project}: write ENTITY/PROJECT, the user or team and the project's name")
        from src.tracking import dashboards

        if args.dry_run:
            print(json.dumps(dashboards.specification(entity, project), indent=1, ensure_ascii=False))
        else:
            print(*dashboards.save(entity, project, args.view), sep="\n")
    except ModuleNotFoundError as error:
        print(f"error: dashboards need {error.name}; pip install wandb-workspaces", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
