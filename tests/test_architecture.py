"""Packages import downward only, and slow libraries stay out of the modules that must start quickly."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

SRC = ROOT / "src"
# Top to bottom: a package may import itself and whatever stands below its line.
LAYERS = (
    {"train", "dashboard", "sync", "blind", "app", "distill", "paint"},
    {"report", "search", "pretrain", "bench", "sweep", "video", "mesh"},
    {"cli"},
    {"run"},
    {"training"},
    {"evaluation"},
    {"transfer"},
    {"tracking"},
    {"encoders", "feedforward"},
    {"data"},
    {"ops"},
    {"config"},
    {"common"},
)
LIGHT = ("src.train", "src.run", "src.config.schema", "src.cli.help", "src.app.serving")
SLOW = ("torch", "pytorch_lightning", "torchmetrics", "wandb", "matplotlib", "hydra")
MODULES = sorted(path for path in SRC.rglob("*.py") if "assets" not in path.parts)


def _package(path: Path) -> str:
    return path.relative_to(SRC).with_suffix("").parts[0]


def _imported_packages(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [
                f"{node.module}.{alias.name}" if node.module == "src" else str(node.module) for alias in node.names
            ]
        found |= {name.split(".")[1] for name in names if name.startswith("src.")}
    return found


def test_every_package_has_a_layer() -> None:
    packages = {_package(path) for path in MODULES} - {"__init__"}
    assert packages == set().union(*LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_imports_go_downward(path: Path) -> None:
    package = _package(path)
    depth = next((depth for depth, names in enumerate(LAYERS) if package in names), len(LAYERS))
    allowed = set().union(*LAYERS[depth + 1 :]) | {package, "assets"}
    assert _imported_packages(path) <= allowed


@pytest.mark.parametrize("module", LIGHT)
def test_importing_a_light_module_loads_no_slow_library(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {SLOW} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_the_lock_file_holds_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock and "://" not in lock and "--index" not in lock
