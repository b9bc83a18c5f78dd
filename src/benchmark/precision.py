"""The final loss of a run whose convolutions are in bfloat16, against float32's."""

import json
import tempfile
from collections.abc import Iterator

from src.benchmark.curves import TARGETS
from src.benchmark.plan import Plan
from src.benchmark.results import Measured
from src.composition import compose

PAIRS = 5


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield both final losses of each pair, by the defaults, and how far they are apart. Hardware without bfloat16
    computes the same, slowly.
    """
    pairs = list(json.loads(TARGETS.read_text())["pairs"])[: min(PAIRS, plan.curve_pairs)]
    for pair in pairs:
        losses = {precision: _final(plan, pair, precision) for precision in ("32", "bf16")}
        yield Measured({"pair": pair}, {**losses, "apart": losses["bf16"] / losses["32"] - 1})


def _final(plan: Plan, pair: str, precision: str) -> float:
    from src.run import run

    content, _, style = pair.partition("-")
    case = (f"content={content}", f"style={style}", f"edge={plan.curve_edge}", f"precision={precision}")
    quiet = ("logger=none", "captures=[1.0]", "trainer.compile=never")
    with tempfile.TemporaryDirectory() as folder:
        return run(compose([*case, *quiet, *plan.overrides, *plan.curve_overrides]), folder).captures[-1].loss_total
