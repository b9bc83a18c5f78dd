"""Every file of conf/ composes, every experiment steps, and what is wrong is said with what would be right."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.cli.help import option_names
from src.common.errors import InputError
from src.config.composition import compose
from src.config.identity import identity, run_name
from src.config.schedule import capture_steps
from src.config.schema import CONF, RunConfig, typed
from src.config.validation import validate

GROUPS = ("content", "style", "layers", "loss", "backbone", "init", "optimizer", "schedule", "logger", "trainer")
GROUPS += ("experiment",)
FILES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


@pytest.mark.parametrize(("group", "name"), FILES)
def test_every_file_composes_and_is_valid(group: str, name: str) -> None:
    more = {("init", "file"): ["init.path=x.png"]}.get((group, name), [])
    config = compose([f"{group}={name}", *more])
    validate(config)
    if group != "experiment":
        chosen = getattr(config, group)
        assert getattr(chosen, "name", chosen) in (name, "file", chosen)


def test_defaults_of_the_schema_are_the_commands_defaults() -> None:
    """A RunConfig built in Python means the same as the command without arguments, but for the pictures."""
    composed, plain = identity(compose()), identity(RunConfig())
    for kind in ("content", "style"):
        composed.pop(kind), plain.pop(kind)
    assert composed == plain


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_every_experiment_steps(name: str, tmp_path: Path) -> None:
    from src.run import run

    pictures = ["content=cat", "style=dots"]
    short = ["steps=2", "captures=[1]", "edge=32", "logger=none", "backbone.weights=random", "trainer=cpu"]
    record = run(compose([f"experiment={name}", *pictures, *short]), tmp_path)
    assert record.status == "finished"
    assert [capture.step for capture in record.captures] == [1, 2]


def test_paper_is_the_published_recipe() -> None:
    paper = compose(["experiment=paper"])
    assert (paper.loss.name, paper.loss.alpha, paper.loss.beta, paper.layers.content) == (
        "published",
        1,
        0.01,
        "conv5_1",
    )
    assert (paper.backbone.name, paper.backbone.weights, paper.backbone.pool) == ("vgg19", "trained", "max")
    assert (paper.canvas.space, paper.canvas.clamp, paper.init.name) == ("normalized", False, "content")
    assert (paper.optimizer.name, paper.optimizer.lr, paper.optimizer.betas) == ("adam", 0.001, [0.9, 0.999])
    assert (paper.steps, paper.edge, paper.fit) == (6000, 356, "squash")
    assert capture_steps(paper.captures, paper.steps) == [2000, 4000, 6000]
    assert compose(["experiment=paper", "steps=10", "optimizer.lr=0.1"]).steps == 10


def test_layer_sets_grow_by_a_block() -> None:
    for number, name in enumerate("abcde", 1):
        assert compose([f"layers={name}"]).layers.style == [f"relu{block}_1" for block in range(1, number + 1)]
    assert compose(["loss=published"]).layers.content == "conv5_1"
    assert compose(["loss=published", "layers.content=relu3_1"]).layers.content == "relu3_1"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steps=0"], "steps must be positive, not 0"),
        (["edge=-3"], "edge must be positive, not -3"),
        (["optimizer.lr=0"], r"optimizer\.lr must be positive, not 0"),
        (["optimizer.lr=nan"], r"optimizer\.lr must be positive"),
        (["loss.alpha=-1"], r"loss\.alpha must be zero or positive, not -1"),
        (["loss.tv=-0.5"], r"loss\.tv must be zero or positive"),
        (["loss.palette=-1"], r"loss\.palette must be zero or positive"),
        (["init.hold=-1"], r"init\.hold must .*not -1"),
        (["loss.alpha=0", "loss.beta=0"], "both zero"),
        (["fit=stretch"], "fit=stretch is unknown; one of: keep, squash"),
        (["loss.patches=2"], "loss.patches is a share of the style loss"),
        (["precision=8"], "precision=8 is unknown; one of: auto, bf16, 32, 64"),
        (["backbone.pool=median"], "one of: blur, avg, max"),
        (["captures=[1.5]"], r"fraction 1\.5 is not in \[0, 1\]"),
        (["captures=[400]"], r"step 400 is not in 0\.\.60"),
        (["captures=[end]"], "'end' is not a number"),
        (["init=file"], r"init=file needs init\.path=FILE"),
        (["layers.style=[]"], "layers.style is empty"),
        (["layers.style=[relu1_1,relu1_1]"], "names a tap twice"),
        (["layers.weights=[1,2]"], "needs one number >= 0 for each"),
        (["layers=a", "layers.weights=[nan]"], "needs one number >= 0 for each"),
        (["style.path=mine.jpg"], r"style\.path goes with style=file"),
        (["seed=99999999999999999999"], r"seed must be in 0\.\."),
        (["logger.tags=[" + "x" * 70 + "]"], "tags of 1 to 64 characters"),
        (["logger.project=a/b"], "W&B takes no /"),
        (["optimizer.betas=[0.9]"], "two numbers in"),
    ],
)
def test_what_no_type_can_check(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate(compose(overrides))


def test_captures_are_fractions_or_steps() -> None:
    assert capture_steps([0.33, 0.67, 1.0], 300) == [99, 201, 300]
    assert capture_steps([2000, 4000], 6000) == [2000, 4000, 6000]
    assert capture_steps([1], 10) == [1, 10], "1 is a step, 1.0 the end"
    assert capture_steps([0], 10) == [0, 10]


def test_a_dict_is_checked_like_a_command_line() -> None:
    config = typed({"content": {"path": "a.jpg"}, "style": {"path": "b.jpg"}, "steps": 7})
    assert config.steps == 7 and config.content.path == "a.jpg"
    with pytest.raises(InputError, match="not in 'RunConfig'"):
        typed({"stepps": 7})
    with pytest.raises(InputError, match="could not be converted"):
        typed({"steps": "many"})
    assert typed(RunConfig(precision=32)).precision == "32"  # type: ignore[arg-type]
    with pytest.raises(InputError, match="could not be converted"):
        typed(RunConfig(steps="x"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"captures=0.5: .* not"):
        compose(["captures=0.5"])


def test_a_runs_name_changes_with_the_run_alone() -> None:
    name = run_name(compose())
    assert name == run_name(compose(["logger=none", "trainer=cpu", "checkpoint_every=3", "max_megapixels=5"]))
    others = {
        run_name(compose([change])) for change in ("steps=301", "loss.beta=1", "seed=1", "layers=a", "style=dots")
    }
    assert len(others) == 5 and name not in others
    assert all(part.isprintable() and "/" not in part for part in others)


def test_files_with_odd_names_make_folders_with_plain_ones() -> None:
    config = compose(["content=file", "content.path='a b/c, d=[1].jpg'", "style=dots"])
    assert config.content.path == "a b/c, d=[1].jpg"
    assert run_name(config).startswith("c_d_1_-dots-e-")


def test_help_is_quick_complete_and_light(command: Callable) -> None:
    begun = time.perf_counter()
    shown = command("src.train", "--help").stdout
    assert time.perf_counter() - begun < 30, "not a benchmark: only that no heavy import crept in"
    for name in option_names():
        assert name in shown
    for group, name in FILES:
        assert f"{group}: " in shown and name in shown
    composed = OmegaConf.create(command("src.train", "--cfg", "job", "steps=5").stdout)
    assert composed.steps == 5 and composed.resume is None


def test_the_command_line_imports_nothing_heavy(command: Callable) -> None:
    import subprocess
    import sys

    heavy = "{'torch', 'wandb', 'pytorch_lightning', 'torchmetrics', 'torchvision', 'matplotlib', 'numpy'}"
    code = f"import sys, src.train, src.run; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=CONF.parent, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["style=udni"], "error: style=udni is unknown; one of: brushwork, candy"),
        (["edgee=3"], "error: there is no option edgee; did you mean edge?"),
        (["loss.bta=3"], "error: there is no option loss.bta; did you mean loss.beta"),
        (["steps=abc"], "could not be converted to Integer"),
        (["content=file", "content.path=a b=[c.jpg"], "quoted twice"),
        (["content=file", "content.path=/no/such.jpg", "hydra.run.dir={tmp}/a"], "error: content.path: no such file"),
        (["layers.content=relu7_1", "hydra.run.dir={tmp}/b"], "error: embedded has no layer 'relu7_1'"),
        (["hydra.run.dir=/dev/null/x"], "error: cannot write /dev/null"),
        (["resume=/no/such/folder"], "error: resume=/no/such/folder: no such folder"),
        (["resume={tmp}"], "there is no run in that folder"),
        (["resume={tmp}", "steps=9"], "steps cannot be changed"),
        (["experiment=[paper,nope]"], "error: experiment=nope is unknown; one of: alpha_beta"),
        (["-m", "style=dots,swell", "--cfg", "job"], "error: -m and --cfg do not go together"),
    ],
)
def test_one_line_and_a_status_for_what_is_wrong(
    arguments: list[str], message: str, command: Callable, tmp_path: Path
) -> None:
    done = command("src.train", *(each.format(tmp=tmp_path) for each in arguments), status=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) <= 4
