"""What the documents tell people to type works: every command of theirs is run, made short by overrides."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "conf/experiment/README.md"]
SHORT = ("steps=2", "captures=[1]", "edge=32", "layers=b", "layers.content=relu2_1", "logger=none", "trainer=cpu")


def _lines() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for block in re.findall(r"```bash\n(.*?)```", document.read_text(), re.DOTALL):
            for line in block.splitlines():
                if line.strip():
                    yield document.name, line


COMMANDS = sorted({shlex.join(shlex.split(line, comments=True)) for _, line in _lines()})
TRAIN = [each for each in COMMANDS if each.startswith("python -m src.train") and " resume=" not in each]


def test_the_first_commands_are_the_two() -> None:
    first = [line.split("#")[0].strip() for name, line in _lines() if name == "README.md"][:2]
    assert first == ["make demo", "make test"]
    assert len(TRAIN) >= 6


@pytest.mark.parametrize("line", TRAIN)
def test_training_commands(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.train import main

    arguments = [each for each in shlex.split(line)[3:] if not each.startswith(("steps=", "layers="))]
    arguments = ["style=dots,swell" if each.startswith("style=glob") else each for each in arguments]
    photo = ROOT / "src/assets/styles/swell.jpg"
    named = next((each for each in arguments if each.startswith("content.path=")), None)
    monkeypatch.chdir(tmp_path)
    if named:
        path = Path(shlex.split(named.partition("=")[2])[0])
        path.parent.mkdir(parents=True)
        shutil.copy(photo, path)
    study = "paper" in line or "study" in line
    if study:  # without network: pictures and weights that are there
        arguments = [each for each in arguments if not each.startswith(("content=", "style="))]
        arguments += [
            "content=cat,rocket" if "study" in line else "content=cat",
            "style=dots",
            "backbone.weights=random",
        ]
    short = [each for each in SHORT if not ((study or "ablation" in line) and each.startswith("layers="))]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments, *short, f"hydra.sweep.dir={tmp_path}/runs"])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        main()
    finally:
        signal.signal(signal.SIGTERM, handler)
    from src.tracking import record as records

    runs = list(records.scan(tmp_path / "runs"))
    assert runs and all(record.status == "finished" for _, record in runs)
    if "-m" in arguments or "study" in line or "ablation" in line:
        assert len(runs) > 1


def test_other_commands_exist() -> None:
    for line in COMMANDS:
        words = shlex.split(line)
        if words[0] == "make":
            subprocess.run([*words, "--dry-run"], cwd=ROOT, check=True, capture_output=True)
        elif words[0] == "wandb":
            assert (Path(sys.executable).parent / "wandb").is_file()
            assert all((ROOT / word).is_file() for word in words if word.startswith("conf/"))
        elif words[:2] == ["python", "-m"]:
            assert (ROOT / words[2].replace(".", "/")).with_suffix(".py").is_file()
        else:
            assert (ROOT / words[0]).is_file()


def test_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    exec(compile(code.replace("steps=20", "steps=2"), "README.md", "exec"), {})
    assert (tmp_path / "multirun/from-python/image.png").is_file()


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+?)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_preset_has_its_row() -> None:
    text = (ROOT / "conf/experiment/README.md").read_text()
    for path in (ROOT / "conf/experiment").glob("*.yaml"):
        assert f"`{path.stem}`" in text
