"""Run folders as a run leaves them, made without a run."""

import itertools
from pathlib import Path
from typing import Any

from PIL import Image

from src.config.schema import RunConfig, plain
from src.tracking.record import Capture, RunRecord

MEASURED: dict[str, Any] = {
    "initial_loss": 1 / 3, "loss_decay": 7.1, "ssim": 0.1 + 0.2, "ssim_published": 2 / 3, "it_per_s": 1e-17,
    "mpx_it_per_s": 1e-19, "seconds": 12.345678901234567, "peak_mib": 984.796875, "patch_distance": 0.25,
    "gradient_ssim": 0.5,
}  # fmt: skip
LAYERS = {"a": ["relu1_1"], "b": ["relu1_1", "relu2_1"], "e": [f"relu{block}_1" for block in range(1, 6)]}


def write_image(path: Path, size: tuple[int, int] = (64, 48), color: str = "orange") -> Path:
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def configuration(folder: Path, options: dict[str, Any], content: str = "cat", style: str = "dots") -> dict[str, Any]:
    """Return a configuration with options by dotted names; its images are green and purple files in a folder."""
    config = plain(RunConfig())
    for kind, name, color in (("content", content, "green"), ("style", style, "purple")):
        config[kind] |= {"name": name, "path": str(write_image(folder / f"{color}.png", color=color))}
    config |= {"steps": 9, "edge": 64, "precision": "32"}
    for name, value in options.items():
        group, _, leaf = name.rpartition(".")
        (config[group] if group else config)[leaf] = value
        if name == "layers.name":
            config["layers"]["style"] = LAYERS[value]
    return config


def write_run(
    folder: Path,
    captures: tuple[int, ...] = (3, 6, 9),
    status: str = "finished",
    content: str = "cat",
    style: str = "dots",
    options: dict[str, Any] | None = None,
    color: str = "orange",
    **fields: Any,
) -> RunRecord:
    """Write a run folder and return its record; its captures are images of one colour."""
    values: dict[str, Any] = {**(MEASURED if captures else {}), "width": 64, "height": 48}
    values |= {"step": max(captures, default=0), "precision": "32" if captures else "auto", **fields}
    if "config" not in values:
        values["config"] = configuration(folder.parent.parent, options or {}, content, style)
    record = RunRecord(status=status, **values)
    for step in captures:
        file = f"captures/step_{step:06d}.png"
        write_image(folder / file, color=color)
        losses = {"total": 1 / (step + 1), "content": 0.1 * step, "style": 0.2, "style/relu1_1": 0.3}
        record.add_capture(Capture(step, losses, file, ssim=1 / (step + 3)))
    record.write(folder)
    return record


def write_sweep(folder: Path) -> None:
    """Write a sweep of two contents, two styles, two layer sets and two ratios of the weights, with curves."""
    values = itertools.product(("cat", "coffee"), ("dots", "swell"), ("a", "b"), (3.0, 30.0))
    for number, (content, style, layers, beta) in enumerate(values):
        run = folder / f"{content}-{style}-{layers}-{beta:g}"
        measures = {"ssim": 0.3 + number / 50, "patch_distance": 0.3 - number / 100, "judge": "vgg16 random"}
        measures |= {"gram_distance": 0.01 + number / 1000}
        options = {"layers.name": layers, "loss.beta": beta}
        write_run(run, content=content, style=style, options=options, color=("red", "blue")[layers == "a"], **measures)
        rows = ["step,loss/total,loss/content,loss/style,loss/patches,loss/style/relu1_1,seconds"]
        rows += [f"{step},{1 / (step + 1)},{0.5},{0.4},{0.3},{0.2},{step / 10}" for step in range(10)]
        (run / "metrics.csv").write_text("\n".join(rows) + "\n")
