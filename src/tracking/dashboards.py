"""Build W&B dashboards of the runs and save them: a workspace view and a report, of the same panels.

Metrics are named through `keys`, options as in the schema. A line of a plot is one run, also where the run table is
grouped: a mean over different pairs of pictures would mean nothing.
"""

import os
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from src.common.errors import InputError, first_line
from src.config.schema import Logger
from src.tracking import names as keys
from src.tracking.wandb_mode import wandb_mode

TITLE = "Neural style transfer"
STEP = "step"  # logged with every row
BETA, ALPHA, RATE = "loss.beta", "loss.alpha", "optimizer.lr"
# Pinned columns of the run table.
COLUMNS = (
    *("run:displayName", "run:state", "config:content.value.name", "config:style.value.name"),
    *("config:layer_set.value", "config:loss.value.alpha", "config:loss.value.beta"),
    *(f"summary:{key}" for key in (keys.SSIM, keys.PATCH_DISTANCE, keys.GRAM_DISTANCE, keys.SCORE, keys.IT_PER_S)),
)
INTRODUCTION = """\
One line or point is one run. Losses are comparable only between runs of the same pictures, size and objective. Read \
SSIM to the content together with a distance to the style: a high SSIM alone may mean a weak style."""


def sections() -> dict[str, list[Any]]:
    """Return the panels of each section, by its title."""
    measured, option = wr.SummaryMetric, wr.Config

    def curve(title: str, *metrics: str, **more: Any) -> Any:
        return wr.LinePlot(title=title, x=STEP, y=list(metrics), title_x=STEP, groupby="None", **more)

    def scatter(title: str, x: Any, y: str, **more: Any) -> Any:
        return wr.ScatterPlot(title=title, x=x, y=measured(y), **more)

    columns: list[Any] = [(option(name), True) for name in (ALPHA, BETA, RATE)]
    columns += [(measured(key), False) for key in (keys.PATCH_DISTANCE, keys.SSIM, keys.SCORE)]
    return {
        "Losses": [
            curve("Total loss", keys.TOTAL, log_y=True),
            curve("Style loss of each layer", log_y=True, metric_regex=f"^{keys.loss_key('style', '.+')}$"),
            curve("Content and style loss", keys.CONTENT, keys.STYLE, log_y=True),
        ],
        "Trade-off": [
            scatter("SSIM against beta", option(BETA), keys.SSIM, log_x=True),
            scatter("Patch distance to the style against SSIM", measured(keys.SSIM), keys.PATCH_DISTANCE),
            scatter("Gram distance to the style against SSIM", measured(keys.SSIM), keys.GRAM_DISTANCE, log_y=True),
            wr.ParallelCoordinatesPlot(
                title="Options and results",
                columns=[wr.ParallelCoordinatesPlotColumn(metric=metric, log=log) for metric, log in columns],
            ),
        ],
        "Captures": [
            wr.MediaBrowser(title="Captures by step", media_keys=[keys.CAPTURE], grid_x_axis="step",
                            grid_y_axis="run", num_columns=3),
        ],
        "Throughput": [
            curve("Evaluations per second", keys.IT_PER_S),
            curve("Megapixels times evaluations per second", keys.MPX_IT_PER_S),
            curve("Peak memory, MiB", keys.PEAK_MIB),
        ],
    }  # fmt: skip


def workspace(entity: str, project: str) -> ws.Workspace:
    """Return the workspace view of a project, its run table ordered by sweep."""
    shown = []
    for title, panels in sections().items():
        layout = ws.SectionLayoutSettings(columns=min(3, len(panels)), rows=-(-len(panels) // 3))
        shown.append(ws.Section(name=title, panels=panels, is_open=True, layout_settings=layout))
    return ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=shown,
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=100),
        # the run table stays ungrouped: panels follow it, and a point would be the mean of a whole sweep
        runset_settings=ws.RunsetSettings(
            order=[
                expr.Ordering(expr.Metric("Group")),
                expr.Ordering(expr.Metric("CreatedTimestamp"), ascending=False),
            ],
            pinned_columns=[*COLUMNS, "run:group"],
        ),
    )


def report(entity: str, project: str) -> wr.Report:
    """Return the report of a project: the same panels, and the run table grouped by sweep."""
    blocks: list[Any] = [wr.P(INTRODUCTION)]
    for title, panels in sections().items():
        width = 24 // min(3, len(panels))  # of the 24 columns of W&B's grid
        for number, panel in enumerate(panels):
            height = 14 if title == "Captures" else 8
            panel.layout = wr.Layout(x=width * (number % 3), y=height * (number // 3), w=width, h=height)
        grid = wr.PanelGrid(runsets=[wr.Runset(name="Runs")], panels=panels, hide_run_sets=True)
        blocks += [wr.H2(title), grid]
    sweeps = wr.Runset(name="Runs by sweep", groupby=["Group"], pinned_columns=list(COLUMNS))
    blocks += [wr.H2("Runs by sweep"), wr.PanelGrid(runsets=[sweeps])]
    about = "Runs of neural style transfer"
    return wr.Report(entity=entity, project=project, title=TITLE, description=about, blocks=blocks, width="fluid")


def specification(entity: str, project: str) -> dict[str, Any]:
    """Return workspace and report as the JSON values that W&B stores; their ids are random."""
    built: dict[str, Any] = {"workspace": workspace(entity, project), "report": report(entity, project)}
    # wandb-workspaces has no public name for these values
    models = {name: each._to_model() for name, each in built.items()}
    return {name: each.model_dump(mode="json", by_alias=True, exclude_none=True) for name, each in models.items()}


def save(entity: str, project: str, view: str | None = None) -> list[str]:
    """Save workspace and report; return their addresses.

    A report of the same title is updated. A new workspace view is made unless `view` is the address of one to update:
    the library finds views by address only.

    Raises:
        InputError: there is no API key, or the server does not answer or refuses.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # wandb would print the addresses too
    mode, reason = wandb_mode(Logger())
    if mode != "online":
        raise InputError(
            f"no dashboard can be saved, as W&B is {mode} ({reason}): `wandb login` or WANDB_API_KEY gives access, "
            f"--dry-run shows what would be saved"
        )
    try:
        new_report = report(entity, project)
        new_report.id = _id_of(new_report)
        new_report.save()  # before the workspace, as this creates a missing project
        saved = workspace(entity, project)
        if view is not None:
            new, saved = saved, ws.Workspace.from_url(view)
            saved.sections, saved.settings, saved.runset_settings = new.sections, new.settings, new.runset_settings
        saved.save()
    except Exception as error:  # of many kinds, all from the server or the way to it
        raise InputError(f"W&B did not take the dashboard of {entity}/{project}: {first_line(error)}") from error
    return [saved.url, new_report.url]


def _id_of(new_report: wr.Report) -> str:
    try:
        found = wandb.Api().reports(f"{new_report.entity}/{new_report.project}")
        return next((each.id for each in found if each.display_name == new_report.title), "")
    except ValueError:  # no such project yet
        return ""
