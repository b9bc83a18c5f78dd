"""The house stands: imports go downward, heavy libraries stay behind their fences, files stay small."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

SRC = ROOT / "src"
# From the ground up; a file may import from lower floors, and on its own floor what BESIDE lists.
FLOORS = tuple(
    floor.split()
    for floor in (
        "errors files provenance kernels.build kernels.products kernels.winograd",
        "core.statistics core.sorting core.search core.losses core.palette core.patches core.example core.patchwork "
        "core.recoloring core.averaging",
        "memory leaving interrupts hardware keys options score config identity help composition catalogue images "
        "records history validation tracking session schedule batch.logs batch.grouping backbones.registry "
        "backbones.recomputation backbones.pooling backbones.extractor backbones.bands backbones.weights "
        "pretraining.config pretraining.crops searching.config",
        "objective footprint economy canvas optimizers metrics counters quality compiling pretraining.network "
        "pretraining.record",
        "module callbacks progress pretraining.module batch.objective batch.module batch.checkpoints",
        "starts ahead preparation staging loop run pretraining.run searching.space",
        "batch.pairs batch.loop batch.run",
        "benchmark.plan benchmark.results benchmark.program",
        "benchmark.cases benchmark.timing",
        "benchmark.roof benchmark.speed benchmark.race benchmark.lightning benchmark.batch benchmark.memory "
        "benchmark.target benchmark.startup benchmark.curves",
        "benchmark.precision",
        "tables reporting.curves reporting.sheet reporting.reproduction reporting.gallery.page searching.front",
        "reporting.labels searching.study",
        "reporting.pictures reporting.charts reporting.comparison",
        "reporting.figures reporting.summary reporting.gallery.prints",
        "reporting.ablation reporting.gallery.dossiers",
        "report sync launchers batch.launcher commandline train pretrain blind bench benchmark.table search "
        "dashboard panels",
    )
)
BESIDE = {
    "core.losses": {"core.statistics"},
    "core.palette": {"core.sorting"},
    "core.patches": {"core.search", "core.statistics"},
    "core.example": {"core.patches", "core.search"},
    "core.patchwork": {"core.example"},
    "catalogue": {"config"},
    "config": {"options", "score"},
    "score": {"options"},
    "pretraining.config": {"config", "options", "validation"},
    "searching.config": {"config", "identity", "options", "validation"},
    "schedule": {"config"},
    "identity": {"config"},
    "session": {*("catalogue", "config", "history", "identity", "records", "tracking", "validation")},
    "batch.grouping": {"backbones.registry", "catalogue", "config", "identity", "images", "schedule"},
    "batch.module": {"batch.objective", "module"},
    "batch.loop": {"batch.pairs"},
    "batch.run": {"batch.loop", "batch.pairs"},
    "batch.launcher": {"launchers"},
    "pretraining.crops": {"images"},
    "composition": {"config", "help", "identity", "pretraining.config", "searching.config"},
    "help": {"config"},
    "validation": {"config", "schedule", "backbones.registry"},
    "tracking": {"config", "history", "images", "keys"},
    "files": {"errors"},
    "kernels.build": {"files", "provenance"},
    "kernels.products": {"kernels.build"},
    "kernels.winograd": {"kernels.build"},
    "backbones.extractor": {"backbones.pooling", "backbones.registry"},
    "backbones.bands": {"backbones.extractor", "backbones.recomputation", "backbones.registry"},
    "backbones.weights": {"backbones.extractor", "backbones.pooling", "backbones.registry", "catalogue", "config"},
    "metrics": {"objective"},
    "footprint": {"objective"},
    "economy": {"footprint"},
    "counters": {"metrics"},
    "compiling": {"metrics", "objective"},
    "callbacks": {"module"},
    "ahead": {"starts"},
    "preparation": {"starts"},
    "staging": {"preparation"},
    "loop": {"preparation", "staging"},
    "pretraining.run": {"loop", "staging"},
    "run": {"ahead", "loop", "preparation", "starts"},
    "benchmark.speed": {"benchmark.roof"},
    "benchmark.race": {"benchmark.speed"},
    "benchmark.batch": {"benchmark.roof"},
    "benchmark.curves": {"benchmark.target"},
    "bench": {"benchmark.table"},
    "train": {"batch.launcher", "commandline", "launchers"},
    "pretrain": {"commandline", "launchers"},
    "search": {"commandline", "launchers", "searching.study"},
    "searching.study": {"searching.front"},
    "searching.front": {"tables"},
    "dashboard": {"panels"},
}
# Who may import what is slow to import, or what the rest should not depend on.
FENCES = {
    "hydra": {"composition", "train", "pretrain", "search", "commandline", "launchers", "batch.launcher"},
    "omegaconf": {
        *("config", "composition", "run", "session", "train", "pretrain", "search", "commandline", "launchers"),
        "batch.launcher",
    },
    "pytorch_lightning": {
        *("module", "callbacks", "progress", "loop", "pretraining.module", "pretraining.run"),
        *("batch.checkpoints", "batch.loop"),
    },
    "wandb": {"tracking", "dashboard"},
    "wandb_workspaces": {"panels", "dashboard"},
    "optuna": {"searching.study"},
    "torchvision": set(),
    "torchmetrics": {"metrics", "quality"},
    "safetensors": {"backbones.weights", "pretraining.run"},
    "matplotlib": {"reporting.sheet", "benchmark.curves"},
}
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts): path
    for path in SRC.rglob("*.py")
    if path.name != "__init__.py" and "assets" not in path.parts
}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def test_every_file_has_its_floor() -> None:
    assert sorted(name for floor in FLOORS for name in floor) == sorted(MODULES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_downward(name: str) -> None:
    floor = next(number for number, names in enumerate(FLOORS) if name in names)
    allowed = {lower for names in FLOORS[:floor] for lower in names} | BESIDE.get(name, set())
    used = {other for other in MODULES if f"src.{other}" in _imports(MODULES[name])}
    assert used <= allowed, f"{name} may not import {sorted(used - allowed)}"


@pytest.mark.parametrize("library", sorted(FENCES))
def test_libraries_stay_behind_their_fences(library: str) -> None:
    users = {name for name, path in MODULES.items() if any(each.split(".")[0] == library for each in _imports(path))}
    assert users <= FENCES[library]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_one_noun_a_file(name: str) -> None:
    lines = MODULES[name].read_text().splitlines()
    assert len(lines) <= 252, f"{name} has {len(lines)} lines: make it a package"
    assert lines[0].startswith('"""')
    assert not name.endswith("utils")


def test_the_map_names_every_file() -> None:
    text = (SRC / "__init__.py").read_text()
    for name in MODULES:
        assert name.split(".")[0] in text, f"src/__init__.py does not mention {name}"


def test_nothing_is_committed_that_a_machine_made() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in lock and "://" not in lock and "--index" not in lock
    assert list((ROOT / "multirun").glob(".gitkeep"))
