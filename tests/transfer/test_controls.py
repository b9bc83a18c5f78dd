"""Style terms, several styles, a style scale, colours and masks together, on two networks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from src.run import run
from src.transfer.terms.registry import STYLE_TERMS
from tests.support.pictures import write_halved_masks

EMBEDDED, VGG19 = ("backbone=embedded",), ("backbone=vgg19", "backbone.weights=random")
RELATIVE = [name for name in STYLE_TERMS if not name.startswith("absolute")]


@pytest.mark.parametrize(("network", "color"), [(EMBEDDED, "match"), (VGG19, "luminance")])
def test_all_controls_together_lower_the_loss(
    network: tuple[str, ...], color: str, small: Callable, tmp_path: Path
) -> None:
    config = small(
        *network, f"color={color}", "loss=moments", f"loss.terms=[{','.join(RELATIVE)}]", "loss.palette=0.3",
        "loss.beta=20", "blend.styles=[dots]", "blend.weights=[0.25]", "style_scale=[1,0.5]", "blend.masks=[255]",
        *write_halved_masks(tmp_path),
        "edge=64", "layers=b", "steps=10", "captures=[0,1.0]", "optimizer.rise=1", "precision=32",
    )  # fmt: skip
    record = run(config, tmp_path / "run")
    first, last = (capture.losses for capture in record.captures)
    assert {*RELATIVE, "palette"} <= set(last)
    assert last["total"] < 0.8 * first["total"]
    assert sum(last[name] < first[name] for name in RELATIVE) > len(RELATIVE) / 2
