"""The final loss of a run whose convolutions are in bfloat16, against float32's."""

import tempfile
from collections.abc import Iterator

from src.bench.curves import TARGETS
from src.bench.plan import Plan
from src.bench.results import Measured
from src.bench.target import read_targets
from src.config.composition import compose


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield both final losses of each pair, by the defaults, and how far they are apart. Hardware without bfloat16
    computes the same, slowly.
    """
    for pair in list(read_targets(TARGETS))[: plan.precision_pairs]:
        losses = {precision: _final(plan, pair, precision) for precision in ("32", "bf16")}
        yield Measured({"pair": "-".join(pair)}, {**losses, "apart": losses["bf16"] / losses["32"] - 1})


def _final(plan: Plan, pair: tuple[str, str], precision: str) -> float:
    from src.run import run

    content, style = pair
    case = (f"content={content}", f"style={style}", f"edge={plan.curve_edge}", f"precision={precision}")
    quiet = ("logger=none", "captures=[1.0]", "trainer.compile=never")
    with tempfile.TemporaryDirectory() as folder:
        return (
            run(compose([*case, *quiet, *plan.overrides, *plan.curve_overrides]), folder).captures[-1].losses["total"]
        )
