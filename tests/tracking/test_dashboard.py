"""Dashboards show metrics and options that runs log, under the names they log."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src import dashboard, tracking
from src.tracking import dashboards
from src.tracking import names as keys
from tests.conftest import SMALL
from tests.support import ROOT, wandb_files
from tests.support.wandb_server import WandbServer

OF_EVERY_RUN = {"run:displayName", "run:state", "run:group"}


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> wandb_files.OfflineRun:
    """The W&B file of a real offline run."""
    from src.config.composition import compose
    from src.run import run

    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        run(compose([*SMALL, "logger=wandb"]), folder)
    [found] = wandb_files.find_runs(folder)
    end = time.monotonic() + 30
    while (loaded := wandb_files.load(found)).exit_code is None:  # wandb's service flushes the file after `finish`
        assert time.monotonic() < end, "the end of the run was never written"
        time.sleep(0.1)
    return loaded


def _values(node: Any, *names: str) -> Iterator[Any]:
    """Yield every value under one of the names, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in names:
                yield value
            yield from _values(value, *names)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, *names)


def _missing(specification: dict[str, Any], seen: wandb_files.OfflineRun) -> set[str]:
    """Return the names in panels and run tables that the run did not log."""
    logged = set().union(*seen.history)
    lists = [each for each in _values(specification, "panels") if isinstance(each, list)]
    panel_configs = [panel["config"] for panels_of_one in lists for panel in panels_of_one]
    wanted: set[str] = set()
    missing: set[str] = set()
    for config in panel_configs:
        pattern = config.get("metricRegex")
        if pattern and sum(bool(re.search(pattern, key)) for key in logged) < 2:
            missing.add(pattern)
        if "metrics" in config:
            wanted |= {*config["metrics"], config["xAxis"]}
        elif "xAxis" in config:
            wanted |= {config["xAxis"], config["yAxis"]}
        wanted |= {f"media:{key}" for key in config.get("mediaKeys", ())}
        wanted |= {column["accessor"] for column in config.get("columns", ())}
    for columns in _values(specification, "columnPinned"):
        wanted |= set(columns)
    for name in wanted - OF_EVERY_RUN:
        section, _, key = name.partition(":")
        if section == "media":
            present = any(row.get(f"{key}._type") == "image-file" for row in seen.history)
        elif section == "summary":
            present = key in seen.summary
        elif section == "config":
            first, _, rest = key.partition(".value")
            value: Any = seen.config.get(first)
            for part in rest.split(".")[1:]:
                value = value.get(part) if isinstance(value, dict) else None
            present = value is not None
        else:
            present = name in logged
        if not present:
            missing.add(name)
    assert len(wanted) > 15
    return missing


def test_every_name_is_logged_by_a_run(offline: wandb_files.OfflineRun) -> None:
    assert _missing(dashboards.specification("me", "mine"), offline) == set()


@pytest.mark.parametrize(
    ("name", "value", "missed"),
    [
        ("TOTAL", "loss/renamed", "loss/renamed"),
        ("SSIM", "similarity", "summary:similarity"),
        ("CAPTURE", "picture", "media:picture"),
        ("SCORE", "merit", "summary:merit"),
    ],
)
def test_a_renamed_metric_is_reported_missing(
    name: str, value: str, missed: str, offline: wandb_files.OfflineRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, name, value)
    assert missed in _missing(dashboards.specification("me", "mine"), offline)


def test_the_last_row_and_the_summary_have_the_score(offline: wandb_files.OfflineRun) -> None:
    last = offline.history[-1]
    for key in (keys.SCORE, keys.PATCH_DISTANCE, keys.GRAM_DISTANCE, keys.GRADIENT_SSIM):
        assert last[key] == offline.summary[key]
        assert all(key not in row for row in offline.history[:-1])
    score = offline.config["score"]
    beyond = max(0.0, last[keys.PATCH_DISTANCE] - score["bound"])
    assert last[keys.SCORE] == pytest.approx(last[keys.SSIM] - score["penalty"] * beyond)
    assert last["capture._type"] == "image-file" and last["_step"] == last["step"], "one row a step"


def test_dry_run_prints_the_specification(capsys: pytest.CaptureFixture[str]) -> None:
    assert dashboard.main(["me/mine", "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["workspace"]["entity"], shown["report"]["project"]["name"]) == ("me", "mine")
    titles = set(_values(shown, "chartTitle"))
    assert titles >= {
        *("Total loss", "Style loss of each layer", "SSIM against beta", "Patch distance to the style against SSIM"),
        *("Evaluations per second", "Captures by step"),
    }
    for part in shown.values():
        kinds = set(_values(part, "viewType"))
        assert {"Run History Line Plot", "Scatter Plot", "Media Browser", "Parallel Coordinates Plot"} <= kinds
    grouped = [each for each in _values(shown["report"], "grouping") if each]
    assert grouped == [[{"section": "run", "name": "group"}]], "only the run table is grouped, by sweep"


def _without_ids(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_ids(value) for name, value in node.items() if name not in ("id", "__id__")}
    return [_without_ids(each) for each in node] if isinstance(node, list) else node


def test_saved_dashboards_equal_the_dry_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wandb_settings: None
) -> None:
    with WandbServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        assert dashboard.main(["me/mine"]) == 0
        printed = capsys.readouterr().out.split()
        assert [line.startswith(f"{server.url}/me/mine") for line in printed] == [True, True]
        kept = {view["type"]: json.loads(view["spec"]) for view in server.views.values()}
        assert dashboard.main(["me/mine"]) == 0
        again = capsys.readouterr().out.split()
        assert again[1] == printed[1], "the report is updated"
        assert sorted(view["type"] for view in server.views.values()) == ["project-view", "project-view", "runs"]
    shown = dashboards.specification("me", "mine")
    assert _without_ids(kept["project-view"]) == _without_ids(shown["workspace"]["spec"])
    assert _without_ids(kept["runs"]) == _without_ids(shown["report"]["spec"])


def test_each_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert dashboard.main(["me/mine"]) == 2
    assert re.fullmatch(r"error: no dashboard can be saved.*no API key.*wandb login.*--dry-run.*\n", _stderr(capsys))
    assert dashboard.main(["mine"]) == 2
    assert _stderr(capsys) == "error: mine: write ENTITY/PROJECT, the user or team and the project's name\n"


def test_an_unknown_wandb_mode_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "maybe")
    assert dashboard.main(["me/mine"]) == 2
    assert _stderr(capsys) == "error: WANDB_MODE=maybe is unknown; set it to online, offline or disabled\n"


def test_a_missing_package_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "src.tracking.dashboards")
    monkeypatch.delattr(tracking, "dashboards")  # imported anew by the command
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    assert dashboard.main(["me/mine", "--dry-run"]) == 2
    assert _stderr(capsys) == "error: dashboards need wandb_workspaces.reports.v2; pip install wandb-workspaces\n"


def _stderr(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


@pytest.fixture
def written() -> dict[str, Any]:
    """The W&B sweep that ships."""
    import yaml

    return yaml.safe_load((ROOT / "conf/wandb_sweep.yaml").read_text())


def test_every_parameter_of_the_wandb_sweep_is_an_option(written: dict[str, Any]) -> None:
    """As wandb's agent writes them."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    from src.config.composition import compose
    from src.config.identity import identity

    assert written["metric"] == {"name": keys.SCORE, "goal": "maximize"}
    before = identity(compose())
    for name, each in written["parameters"].items():
        for value in each.get("values", [each.get("min"), each.get("max")]):
            [override] = create_sweep_command_args({"args": {name: {"value": value}}})["args_no_hyphens"]
            changed = identity(compose([override]))
            assert changed != before or override == "layers=e", f"{override} is an option of a run"


@pytest.mark.long
def test_a_wandb_sweep_starts_runs_of_the_same_command(written: dict[str, Any], tmp_path: Path) -> None:
    """Wandb's own `sweep` and `agent`, with the commands that its server would give them."""
    from src.tracking import record as records

    given = dict(each.split("=") for each in SMALL if not each.startswith(("logger", "layers=", "loss=")))
    given |= {"loss.alpha": 0.5, "loss.beta": 33.25, "layers": "b", "hydra.run.dir": str(tmp_path / "run")}
    with WandbServer() as server:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, **server.environment(), "PATH": path, "WANDB_DIR": str(tmp_path)}

        def wandb(*arguments: str) -> None:
            subprocess.run([sys.executable, "-m", "wandb", *arguments], cwd=ROOT, env=environment, check=True,
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=300)  # fmt: skip

        wandb("sweep", "conf/wandb_sweep.yaml")
        [sweep] = server.sweeps
        filled = {name: {"value": value} for name, value in given.items()}
        server.commands = [{"type": "run", "run_id": "first", "program": written["program"], "args": filled}]
        wandb("agent", "--count", "1", f"me/{written['project']}/{sweep}")
        record = records.read(tmp_path / "run")
        options = record.options
        assert record.status == "finished" and (options.loss.alpha, options.loss.beta) == (0.5, 33.25)
        assert (options.layers.name, options.content.name, options.style.name) == ("b", "coffee", "brushwork")
        seen = server.runs["first"]
        assert record.wandb_id == "first" and seen.fields["groupName"] == sweep
        assert seen.summary[keys.SCORE] == record.score and seen.exit_code == 0
        assert seen.config["layer_set"]["value"] == "b" and seen.config["loss"]["value"]["beta"] == 33.25
