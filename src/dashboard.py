"""W&B dashboards as code: `python -m src.dashboard entity/project` saves a workspace view and a report."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from src.common.errors import InputError, first_line
from src.config.schema import Logger
from src.tracking import panels
from src.tracking.wandb_logger import wandb_mode

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report


def specification(entity: str, project: str) -> dict[str, Any]:
    """Return what would be saved, in W&B's own terms, as plain values; only its ids are new at every call."""
    # the library has no public name for what it sends
    built: dict[str, Any] = {"workspace": panels.workspace(entity, project), "report": panels.report(entity, project)}
    return {name: each._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, each in built.items()}  # fmt: skip


def save(entity: str, project: str, view: str | None = None) -> list[str]:
    """Save both; return their addresses.

    A report of this title is brought up to date, else made. A view is made, unless one is named to bring up to date:
    W&B's library finds views by their address alone.

    Args:
        entity: W&B user or team.
        project: of the entity; made where there is none.
        view: address of a view that was saved before.

    Raises:
        InputError: there is no key, no server, or it does not take them.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # it would say the addresses as well
    mode, reason = wandb_mode(Logger())
    if mode != "online":
        raise InputError(
            f"no dashboard can be saved, as W&B is {mode} ({reason}): `wandb login` or WANDB_API_KEY gives access, "
            f"--dry-run shows what would be saved"
        )
    _, workspaces = panels.library()
    try:
        report = panels.report(entity, project)
        report.id = _id_of(report)
        report.save()  # first: it makes a project that is missing
        workspace = panels.workspace(entity, project)
        if view is not None:
            before = workspaces.Workspace.from_url(view)
            before.sections, before.settings = workspace.sections, workspace.settings
            before.runset_settings = workspace.runset_settings
            workspace = before
        workspace.save()
    except Exception as error:  # of many kinds; whatever it is, it comes from the server or the way to it
        raise InputError(f"W&B did not take the dashboard of {entity}/{project}: {first_line(error)}") from error
    return [workspace.url, report.url]


def _id_of(report: "Report") -> str:
    import wandb

    path = f"{report.entity}/{report.project}"
    try:
        found = [each.id for each in wandb.Api().reports(path) if each.display_name == report.title]
    except ValueError:  # no such project yet
        found = []
    return found[0] if found else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 when it is saved or shown, 2 for bad input."""
    parser = argparse.ArgumentParser("python -m src.dashboard", description="Save a W&B workspace view and a report.")
    parser.add_argument("project", metavar="ENTITY/PROJECT", help="where the runs are; logger.project's default is "
                        "neural-style")  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="print the specification as JSON; no account, no network"
    )
    parser.add_argument("--view", metavar="URL", help="bring this saved view up to date instead of making a new one")
    args = parser.parse_args(arguments)
    entity, _, project = args.project.partition("/")
    try:
        if not entity or not project or "/" in project:
            raise InputError(f"{args.project}: write ENTITY/PROJECT, the user or team and the project's name")
        if args.dry_run:
            print(json.dumps(specification(entity, project), indent=1, ensure_ascii=False))
        else:
            print(*save(entity, project, args.view), sep="\n")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
