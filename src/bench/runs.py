"""Whole runs of the program: sections `target` and `precision`."""

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from src.bench.cases import Case, Setup, open_device
from src.bench.plan import Plan
from src.bench.results import Row
from src.bench.timing import interleaved
from src.config.composition import compose
from src.config.schema import CONF, RunConfig
from src.run import run
from src.tracking import names as keys
from src.tracking.names import METRICS
from src.tracking.points import numbers, read_lines
from src.tracking.record import RunRecord

ASSETS = CONF.parent / "src" / "assets"
PUBLISHED_TARGETS = ASSETS / "targets.json"  # loss of the published recipe after 6000 steps of its program
PUBLISHED = Case("embedded", 160)
ITERATIONS = 6000
# By name, what is changed of the published recipe to reach its loss sooner.
LBFGS = ("optimizer=lbfgs", "optimizer.lr=1")
OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "adam 0.1": ("optimizer.lr=0.1",),
    "adam 0.2": ("optimizer.lr=0.2", "optimizer.betas=[0.9,0.99]"),
    "lbfgs": LBFGS,
    "lbfgs, recolored": (*LBFGS, "init=recolored"),
    "lbfgs, recolored, 2 sizes": (
        *(*LBFGS, "init=recolored", "steps=150"),
        *("schedule=pyramid", "schedule.sizes=2", "schedule.factor=2", "schedule.last=0.93"),
    ),
}
TIMED = 10  # steps of the published program before and after each of our runs


def run_once(config: RunConfig) -> tuple[RunRecord, list[dict[str, float]]]:
    """Return the record of a run, and the points in its metrics.csv; none with logger=none."""
    with tempfile.TemporaryDirectory() as folder:
        record = run(config, folder)
        file = Path(folder) / METRICS
        return record, [numbers(line) for line in read_lines(file)] if file.exists() else []


def read_targets(path: Path = PUBLISHED_TARGETS) -> dict[tuple[str, str], float]:
    """Return the loss to reach for each (content, style)."""
    pairs = json.loads(path.read_text())["pairs"]
    return {(name.partition("-")[0], name.partition("-")[2]): each["loss"] for name, each in pairs.items()}


def target(plan: Plan) -> Iterator[Row]:
    """Yield, for each pair and optimiser, the loop's time to the published loss relative to 6000 program steps.

    The program's step is timed right before and right after each run.
    """
    device = open_device(plan)
    program = Setup.of(PUBLISHED.config(*plan.overrides)).program()
    repeats = dataclasses.replace(plan, least=min(TIMED, plan.most), most=min(TIMED, plan.most))

    def program_seconds() -> float:
        return interleaved({"program": program.step}, repeats, device)["program"]["seconds"]

    for (content, style), loss in list(read_targets().items())[: plan.target_pairs]:
        for name, overrides in list(OPTIMIZERS.items())[: plan.ways]:
            case = ("experiment=paper", f"backbone={PUBLISHED.backbone}", f"edge={PUBLISHED.edge}")
            pair = (f"content={content}", f"style={style}", f"stop_at_loss={loss!r}", f"steps={plan.target_steps}")
            quiet = ("captures=[1.0]", "logger=none", "trainer.compile=never", *plan.overrides)
            before = program_seconds()
            record, _ = run_once(compose([*case, *pair, *quiet, *overrides]))
            step = (before + program_seconds()) / 2
            reached = record.captures[-1].losses[keys.TOTAL_TERM]
            values = {"seconds": record.seconds, "evaluations": record.evaluations, "loss": reached, "target": loss}
            values |= {"program_step_seconds": step, "ratio": record.seconds / (ITERATIONS * step)}
            note = "" if reached <= loss else f"not reached in {record.evaluations} evaluations"
            yield Row({"pair": f"{content}-{style}", "optimizer": name}, values, note)


def precision(plan: Plan) -> Iterator[Row]:
    """Yield the final loss of each pair in float32 and bfloat16; without hardware support bfloat16 is only slow."""
    for content, style in list(read_targets())[: plan.precision_pairs]:
        losses = {}
        for name in ("32", "bf16"):
            record, _ = run_once(_default_run(plan, content, style, name))
            losses[name] = record.captures[-1].losses[keys.TOTAL_TERM]
        yield Row({"pair": f"{content}-{style}"}, {**losses, "apart": losses["bf16"] / losses["32"] - 1})


def _default_run(plan: Plan, content: str, style: str, precision: str) -> RunConfig:
    case = (f"content={content}", f"style={style}", f"edge={plan.precision_edge}", f"precision={precision}")
    quiet = ("captures=[1.0]", "logger=none", "trainer.compile=never", *plan.overrides)
    return compose([*case, *quiet, *plan.precision_overrides])
