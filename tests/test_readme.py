"""The documents are right: their commands and options work, and their links and paths lead somewhere.

Training commands of the README and of some pages are run, shortened by overrides. All other commands are composed and
checked without being run.
"""

import argparse
import importlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = (README, ROOT / "CONTRIBUTING.md", ROOT / "conf/experiment/README.md", *PAGES)
RUN = (README, ROOT / "docs/paper.md", ROOT / "docs/performance.md")
LONG = "experiment=published_pairs"  # 77 pairs whose images need the network
SHORT = ("steps=2", "captures=[1]", "edge=32", "layers=b", "layers.content=relu2_1", "logger=none", "trainer=cpu")
SHORT += ("trainer.threads=1",)
HYDRA_COMMANDS = ("src.train", "src.search", "src.pretrain", "src.video", "src.mesh", "src.distill", "src.paint")


def _lines(document: Path) -> Iterator[str]:
    for block in re.findall(r"```bash\n(.*?)```", document.read_text(), re.DOTALL):
        yield from (line for line in block.splitlines() if line.strip())


def _commands(*documents: Path) -> list[str]:
    return sorted({shlex.join(shlex.split(line, comments=True)) for each in documents for line in _lines(each)})


def _module(command: str) -> str:
    words = shlex.split(command)
    return words[2] if words[:2] == ["python", "-m"] else ""


def _prose(document: Path) -> str:
    return re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)


ALL = _commands(*DOCUMENTS)
JOBS = [each for each in ALL if _module(each) in HYDRA_COMMANDS and " resume=" not in each]
TRAIN = [each for each in JOBS if each in _commands(*RUN) and _module(each) == "src.train" and LONG not in each]
COMPOSED = [each for each in JOBS if each not in TRAIN]
PARSED = [each for each in ALL if _module(each) and _module(each) not in HYDRA_COMMANDS]


def test_the_readme_is_short_and_begins_with_demo_and_test() -> None:
    assert len(README.read_text().splitlines()) <= 170
    assert [line.split("#")[0].strip() for line in _lines(README)][:2] == ["make demo", "make test"]
    assert len(TRAIN) >= 6


def test_the_folder_of_the_first_run_has_the_name_that_its_command_gives() -> None:
    from src.config.composition import compose
    from src.config.identity import run_name

    first = next(line for line in _lines(README) if _module(line) == "src.train")
    name = run_name(compose(shlex.split(first.split("#")[0])[3:]))
    assert f"└── {name}/" in README.read_text() and f"resume=multirun/2026-11-22/14-03-22/{name}" in README.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("line", TRAIN)
def test_training_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.train import main

    arguments = [each for each in shlex.split(line)[3:] if not each.startswith(("steps=", "layers="))]
    arguments = ["style=dots,swell" if each.startswith("style=glob") else each for each in arguments]
    swept = [each for each in arguments if re.fullmatch(r"[\w.]+=[\w.]+(,[\w.]+)+", each)]
    for each in swept[1:]:  # two jobs are enough
        arguments[arguments.index(each)] = f"{each.partition('=')[0]}={each.rpartition(',')[2]}"
    monkeypatch.chdir(tmp_path)
    if named := next((each for each in arguments if each.startswith("content.path=")), None):
        path = Path(shlex.split(named.partition("=")[2])[0])
        path.parent.mkdir(parents=True)
        shutil.copy(ROOT / "src/assets/styles/swell.jpg", path)
    study = "paper" in line or "study" in line
    if study:  # only images and weights that need no network
        arguments = [each for each in arguments if not each.startswith(("content=", "style="))]
        contents = "content=cat,rocket" if "study" in line else "content=cat"
        arguments += [contents, "style=dots", "backbone.weights=random"]
    sweeps_layers = study or "ablation" in line
    short = [each for each in SHORT if not (sweeps_layers and each.startswith("layers="))]
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


def _choices(argument: str) -> tuple[str, str]:
    """Return an override with the first and with the last value of its sweep, for one job each."""
    name, _, value = argument.partition("=")
    if value.startswith("glob("):
        return f"{name}=dots", f"{name}=tesserae"
    separator = r"(?<=]),(?=\[)" if value.startswith("[") else ","
    values = [value] if set(value) & set("(\"'") else re.split(separator, value)
    return f"{name}={values[0]}", f"{name}={values[-1]}"


@pytest.mark.parametrize("line", COMPOSED)
def test_other_hydra_commands_compose(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from omegaconf import OmegaConf

    from src.config.schema import typed
    from src.config.validation import validate

    main = importlib.import_module(_entry(line)).main
    overrides = [each for each in shlex.split(line)[3:] if each != "-m"]
    handler = signal.getsignal(signal.SIGTERM)
    for job in dict.fromkeys(zip(*map(_choices, overrides), strict=True)):
        monkeypatch.setattr(sys, "argv", [line, *job, "--cfg", "job"])
        try:
            main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        composed = OmegaConf.create(capsys.readouterr().out)
        if _module(line) == "src.train":
            validate(typed(composed))


class _Parsed(Exception):
    """Ends a command once its arguments are parsed."""


@pytest.mark.parametrize("line", PARSED)
def test_other_commands_parse(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args
    found = []

    def parse_and_stop(parser: argparse.ArgumentParser, *given: object) -> None:
        found.append(parse(parser, *given))  # type: ignore[call-overload]
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.setattr(sys, "argv", ["command", *shlex.split(line)[3:]])
    with pytest.raises(_Parsed):
        importlib.import_module(_entry(line)).main()
    if _module(line) == "src.bench":
        from src.bench.plan import SECTIONS

        assert set(found[0].sections) <= set(SECTIONS)


def _entry(line: str) -> str:
    module = _module(line)
    return f"{module}.__main__" if (ROOT / module.replace(".", "/")).is_dir() else module


def test_commands_that_are_not_python_exist() -> None:
    targets = set()
    for line in (each for each in ALL if not _module(each)):
        words = shlex.split(line)
        if words[0] == "make":
            targets |= {word for word in words[1:] if "=" not in word}
        elif words[0] == "wandb":
            assert (Path(sys.executable).parent / "wandb").is_file()
            assert all((ROOT / word).is_file() for word in words if word.startswith("conf/"))
        else:
            assert (ROOT / words[0]).is_file()
    subprocess.run(["make", "--dry-run", f"PYTHON={sys.executable}", *targets], cwd=ROOT, check=True)


@pytest.mark.slow
def test_the_python_example_runs_in_another_folder_and_shows_progress(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    for name, source in (("a", "swell"), ("b", "dots")):
        shutil.copy(ROOT / f"src/assets/styles/{source}.jpg", tmp_path / f"{name}.jpg")
    environment = {**os.environ, "WANDB_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    code = code.replace("steps=20", "steps=2")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert (tmp_path / "multirun/from-python/image.png").is_file()
    assert "| step 0/2 [" in done.stderr, "a bar, although stderr is no terminal"


def test_setup_puts_the_checkout_on_the_path_of_its_environment(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    subprocess.run(["make", "--silent", "path", f"VENV={tmp_path / 'venv'}"], cwd=ROOT, check=True)
    code = "import src.common.errors; print(src.common.errors.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [tmp_path / "venv/bin/python", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert Path(done.stdout.strip()) == ROOT / "src/common/errors.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_options_in_the_text_exist(document: Path) -> None:
    """Code spans such as `loss=patches` and `loss.beta=10` name files and options; values in capitals stand for any."""
    from src.config.options import option_names
    from src.config.schema import CONF, RunConfig, group_names
    from src.distill.config import DistillConfig
    from src.mesh.config import MeshConfig
    from src.paint.config import PaintConfig
    from src.pretrain.config import PretrainConfig
    from src.search.config import SearchConfig
    from src.video.config import VideoConfig

    schemas = (RunConfig, SearchConfig, PretrainConfig, VideoConfig, MeshConfig, DistillConfig, PaintConfig)
    known = {name for schema in schemas for name in option_names(schema)}
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()} - {"hydra"}
    for span in re.findall(r"`([^`]+)`", _prose(document)):
        if not re.fullmatch(r"([a-z_0-9.]+=\S+ ?)+", span):
            continue
        for name, _, value in (word.partition("=") for word in span.split()):
            assert name in known | groups or name.startswith("hydra."), f"{document.name}: {span}"
            if name in groups and re.fullmatch("[a-z0-9_]+", value):
                assert value in group_names(name), f"{document.name}: {span}"


def _anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+?)\)", document.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{document.name}: {target}"
        if anchor:
            assert anchor in _anchors(file), f"{document.name}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_in_the_text_exist(document: Path) -> None:
    for path in re.findall(r"`((?:src|conf|tests|docs)/[\w./]+)`", _prose(document)):
        if not re.search("[A-Z]{3}", path.replace("README", "")):
            assert (ROOT / path).exists(), f"{document.name}: {path}"


def test_every_preset_has_its_row() -> None:
    text = (ROOT / "conf/experiment/README.md").read_text()
    for path in (ROOT / "conf/experiment").glob("*.yaml"):
        assert f"`{path.stem}`" in text


def test_every_page_is_linked_from_the_readme() -> None:
    text = README.read_text()
    assert all(f"(docs/{page.name}" in text for page in PAGES)
