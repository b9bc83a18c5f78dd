"""What a W&B dashboard of runs shows, in the terms of wandb's library: its panels, its run table.

Every metric is named through `keys`, every option as the schema has it. A line is a run: also where the run table is
grouped, a mean over pictures of different pairs would say nothing.
"""

from typing import TYPE_CHECKING, Any

from src.common.errors import InputError
from src.tracking import names as keys

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report
    from wandb_workspaces.workspaces import Workspace

TITLE = "Neural style transfer"
STEP = "step"  # what every point is logged with
BETA, ALPHA, RATE = "loss.beta", "loss.alpha", "optimizer.lr"
# Columns of the run table, before all others.
COLUMNS = (
    *("run:displayName", "run:state", "config:content.value.name", "config:style.value.name"),
    *("config:layer_set.value", "config:loss.value.alpha", "config:loss.value.beta"),
    *(f"summary:{key}" for key in (keys.SSIM, keys.PATCH_DISTANCE, keys.GRAM_DISTANCE, keys.SCORE, keys.IT_PER_S)),
)
INTRODUCTION = """\
One line or point is one run. Losses are of each run's own objective and compare only where pictures, size and \
objective are the same. SSIM to the content says something only beside a distance to the style: a high one alone may \
mean a weak style."""


def library() -> tuple[Any, Any]:
    """Return wandb's modules of reports and of workspaces.

    Raises:
        InputError: they are not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed, and dashboards need it: pip install wandb-workspaces"
        ) from error
    return reports, workspaces


def sections() -> dict[str, list[Any]]:
    """Return the panels by the title of their section."""
    wr, _ = library()
    measured, option = wr.SummaryMetric, wr.Config

    def curve(title: str, *metrics: str, **more: Any) -> Any:
        return wr.LinePlot(title=title, x=STEP, y=list(metrics), title_x=STEP, groupby="None", **more)

    def scatter(title: str, x: Any, y: str, **more: Any) -> Any:
        return wr.ScatterPlot(title=title, x=x, y=measured(y), **more)

    columns = [(option(name), True) for name in (ALPHA, BETA, RATE)]
    columns += [(measured(key), False) for key in (keys.PATCH_DISTANCE, keys.SSIM, keys.SCORE)]
    return {
        "Losses": [
            curve("Total loss", keys.TOTAL, log_y=True),
            curve("Style loss of each layer", log_y=True, metric_regex=f"^{keys.loss_key('style', '.+')}$"),
            curve("Content and style loss", keys.CONTENT, keys.STYLE, log_y=True),
        ],
        "Trade-off": [
            scatter("SSIM against beta", option(BETA), keys.SSIM, log_x=True),
            scatter("Style distance (patches) against SSIM", measured(keys.SSIM), keys.PATCH_DISTANCE),
            scatter("Style distance (Gram) against SSIM", measured(keys.SSIM), keys.GRAM_DISTANCE, log_y=True),
            wr.ParallelCoordinatesPlot(
                title="What was chosen, and what came of it",
                columns=[wr.ParallelCoordinatesPlotColumn(metric=metric, log=log) for metric, log in columns],
            ),
        ],
        "Captures": [
            wr.MediaBrowser(title="The picture on its way", media_keys=[keys.CAPTURE], grid_x_axis="step",
                            grid_y_axis="run", num_columns=3),
        ],
        "Throughput": [
            curve("Evaluations per second", keys.IT_PER_S),
            curve("Megapixels times evaluations per second", keys.MPX_IT_PER_S),
            curve("Peak memory, MiB", keys.PEAK_MIB),
        ],
    }  # fmt: skip


def workspace(entity: str, project: str) -> "Workspace":
    """Return the saved view of a project, its runs in the order of their sweeps."""
    _, ws = library()
    from wandb_workspaces import expr

    return ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=[
            # the panels of a workspace follow its run table: grouped, a point of the trade-off would be a whole sweep
            ws.Section(
                name=title,
                panels=panels,
                is_open=True,
                layout_settings=ws.SectionLayoutSettings(columns=min(3, len(panels)), rows=-(-len(panels) // 3)),
            )
            for title, panels in sections().items()
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=100),
        runset_settings=ws.RunsetSettings(
            order=[
                expr.Ordering(expr.Metric("Group")),
                expr.Ordering(expr.Metric("CreatedTimestamp"), ascending=False),
            ],
            pinned_columns=[*COLUMNS, "run:group"],
        ),
    )


def report(entity: str, project: str) -> "Report":
    """Return the report: the same panels, and the run table grouped by sweep."""
    wr, _ = library()
    blocks = [wr.P(INTRODUCTION)]
    for title, panels in sections().items():
        width = 24 // min(3, len(panels))  # of the 24 columns of W&B's grid
        for number, panel in enumerate(panels):
            height = 14 if title == "Captures" else 8
            panel.layout = wr.Layout(x=width * (number % 3), y=height * (number // 3), w=width, h=height)
        grid = wr.PanelGrid(runsets=[wr.Runset(name="Runs")], panels=panels, hide_run_sets=True)
        blocks += [wr.H2(title), grid]
    sweeps = wr.Runset(name="Runs by sweep", groupby=["Group"], pinned_columns=list(COLUMNS))
    blocks += [wr.H2("Runs by sweep"), wr.PanelGrid(runsets=[sweeps])]
    return wr.Report(
        entity=entity, project=project, title=TITLE, description="Runs of neural style transfer", blocks=blocks,
        width="fluid",
    )  # fmt: skip
