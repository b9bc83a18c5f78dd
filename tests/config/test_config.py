"""Every file of conf/ composes, every experiment steps, and errors name the right values."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.common.errors import InputError
from src.config.composition import compose, load_composed
from src.config.identity import folder_name, identity, run_name
from src.config.options import option_names
from src.config.schedule import capture_steps
from src.config.schema import CONF, RunConfig, typed
from src.config.validation import validate
from tests.support.processes import new_python

GROUPS = ("content", "style", "layers", "loss", "backbone", "init", "optimizer", "schedule", "logger", "trainer")
GROUPS += ("experiment",)
FILES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


def _choices() -> Iterator[list[tuple[str, str]]]:
    """Yield groups and names so that every file is chosen once, apart from the experiments, which are run below."""
    independent = ("content", "style", "optimizer", "schedule", "logger", "trainer")
    for row in itertools.zip_longest(*([each for each in FILES if each[0] == group] for group in independent)):
        yield [each for each in row if each]
    yield from ([each] for each in FILES if each[0] not in (*independent, "experiment"))


@pytest.mark.parametrize("chosen", list(_choices()), ids=str)
def test_every_file_composes_and_is_valid(chosen: list[tuple[str, str]]) -> None:
    more = ["init.path=x.png"] if chosen[0] in (("init", "file"), ("init", "frame"), ("init", "network")) else []
    config = compose([*map("=".join, chosen), *more])
    validate(config)
    for group, name in chosen:
        part = getattr(config, group)
        assert getattr(part, "name", part) in (name, "file", part)


def test_defaults_of_the_schema_are_the_defaults_of_the_command() -> None:
    """A RunConfig built in Python equals the command without arguments, except for the images."""
    composed, plain = identity(compose()), identity(RunConfig())
    for kind in ("content", "style"):
        composed.pop(kind), plain.pop(kind)
    assert composed == plain


@pytest.mark.slow
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
        (["optimizer.rise=-1"], r"optimizer\.rise must .*not -1"),
        (["loss.alpha=0", "loss.beta=0"], "both zero"),
        (["fit=stretch"], "fit=stretch is unknown; one of: keep, squash"),
        (["loss.patches=2"], "loss.patches is a share of the style loss"),
        (["format=jpeg", "edge=65501"], "format=jpeg has at most 65500 px a side"),
        (["precision=8"], "precision=8 is unknown; one of: auto, bf16, 32, 64"),
        (["backbone.pool=median"], "one of: blur, avg, max"),
        (["captures=[1.5]"], r"fraction 1\.5 is not in \[0, 1\]"),
        (["captures=[400]"], r"step 400 is not in 0\.\.150"),
        (["captures=[end]"], "'end' is not a number"),
        (["init=file"], r"init=file needs init\.path=FILE"),
        (["layers.style=[]"], "layers.style is empty"),
        (["layers.style=[relu1_1,relu1_1]"], "names a tap twice"),
        (["layers.weights=[1,2]"], "needs one number >= 0 for each"),
        (["layers=a", "layers.weights=[nan]"], "needs one number >= 0 for each"),
        (["style.path=mine.jpg"], r"style\.path goes with style=file"),
        (["loss.capacity=0.5"], r"loss\.capacity must be 1 or more, or null for no limit, not 0\.5"),
        (["seed=99999999999999999999"], r"seed must be at most "),
        (["logger.tags=[" + "x" * 70 + "]"], "tags of 1 to 64 characters"),
        (["logger.project=a/b"], "W&B takes no /"),
        (["optimizer.betas=[0.9]"], "two numbers in"),
        (["steps=99999999999999999999"], r"steps must be at most 10000000"),
        (["optimizer.lr=1e308"], r"optimizer\.lr must be at most 1000"),
        (["schedule=pyramid", "schedule.sizes=1000000000000"], r"schedule\.sizes must be at most "),
        (["schedule=pyramid", "schedule.factor=2000"], r"schedule\.factor must be at most 16, not 2000"),
        (["trainer.threads=99999999999"], r"trainer\.threads must be in 1\.\.1024"),
        (["schedule.first=1"], r"schedule\.first is a share .*, in \(0, 1\), not 1"),
        (["init.contrast=0"], r"init\.contrast is in \(0, 1\], not 0"),
        (["loss.tv_form=cubes"], "one of: squares, stencil, absolute"),
        (["trainer.threads=0"], r"trainer\.threads must be in 1\.\.1024"),
        (["backbone.seed=9223372036854775807"], r"backbone\.seed must be at most 4294967295"),
        (["trainer.kernels=fast"], "trainer.kernels=fast is unknown; one of: auto, off"),
        (["trainer.accelerator=mps", "precision=64"], r"precision=64 needs trainer=cpu or trainer=gpu"),
    ],
)
def test_values_that_types_allow_and_validation_refuses(overrides: list[str], message: str) -> None:
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
    for given, message in (
        ({"stepps": 7}, "there is no option stepps; did you mean steps?"),
        ({"loss": {"bta": 7}}, "there is no option loss.bta; did you mean loss.beta"),
        ({"steps": "many"}, "steps: a whole number is needed"),
        ({"steps": None}, "steps: null is not possible here"),
        ({"captures": 3}, "captures: a list is needed"),
        ({"loss": {"substitute": 3}}, "loss.substitute: names with values are needed"),
        ({"loss": 3}, "names with values are needed"),
    ):
        with pytest.raises(InputError, match=message):
            typed(given)
    assert typed(RunConfig(precision=32)).precision == "32"  # type: ignore[arg-type]
    with pytest.raises(InputError, match="steps: a whole number is needed"):
        typed(RunConfig(steps="x"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("captures=0.5", r"captures=0\.5: a list is needed"),
        ("steps=abc", "steps=abc: a whole number is needed"),
        ("edge=1.5", r"edge=1\.5: a whole number is needed"),
        ("loss.beta=x", r"loss\.beta=x: a number is needed"),
        ("canvas.clamp=perhaps", "true or false is needed"),
        ("loss.substitute=[1]", "names with values are needed"),
        ("steps=null", "null is not possible here"),
        ("content=null", "null is not the name of a file"),
        ("layers=null", "null is not the name of a file"),
        ("loss=null", "null is not the name of a file"),
        ("style=dots,swell", r"style has several values \(dots,swell\): write -m"),
        ("steps=(1", "quoted twice"),
    ],
)
def test_values_of_the_wrong_type(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        compose([override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"steps: [", b"\xff\xfe\xff", b"- 1\n- 2", b"steps: ${nowhere}", b"a: &x [*x]", b"[" * 5000]
)
def test_a_damaged_saved_configuration_is_one_line(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(data)
    with pytest.raises(InputError, match="cannot use the configuration") as caught:
        load_composed(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        load_composed(tmp_path / "none.yaml")


def test_a_saved_configuration_is_read_back(tmp_path: Path) -> None:
    OmegaConf.save(OmegaConf.structured(compose(["steps=7"])), tmp_path / "config.yaml")
    assert typed(load_composed(tmp_path / "config.yaml")) == compose(["steps=7"])


def test_the_name_of_a_run_depends_on_its_identity_alone() -> None:
    name = run_name(compose())
    weights = [run_name(compose([f"backbone.weights={path}"])) for path in ("w.pth", Path("w.pth").absolute(), "v.pth")]
    assert weights[0] == weights[1] != weights[2]
    assert name == run_name(compose(["logger=none", "trainer=cpu", "checkpoint_every=3", "max_megapixels=5"]))
    others = {
        run_name(compose([change])) for change in ("steps=301", "loss.beta=1", "seed=1", "layers=a", "style=dots")
    }
    assert len(others) == 5 and name not in others
    assert all(part.isprintable() and "/" not in part for part in others)


def test_odd_file_names_give_plain_folder_names() -> None:
    config = compose(["content=file", "content.path='a b/c, d=[1].jpg'", "style=dots"])
    assert config.content.path == "a b/c, d=[1].jpg"
    assert run_name(config).startswith("c_d_1_-dots-e-")


def test_folder_names_leave_room_for_what_is_added_to_them() -> None:
    name = folder_name(["ö" * 50] * 9, {})
    assert len(name.encode()) <= 160 and re.fullmatch(r"(ö{40}-)ö+(-ö+)*-[0-9a-f]{8}", name)
    assert folder_name(["cat", "dots", "e"], {}).startswith("cat-dots-e-")


def test_help_is_quick_complete_and_light(command_here: Callable) -> None:
    begun = time.perf_counter()
    shown = new_python("-m", "src.train", "--help").stdout
    assert time.perf_counter() - begun < 30, "a heavy import takes longer on a busy machine"
    for name in option_names(RunConfig):
        assert name in shown
    for group, name in FILES:
        assert f"{group}: " in shown and name in shown
    composed = OmegaConf.create(command_here("src.train", "--cfg", "job", "steps=5"))
    assert composed.steps == 5 and composed.resume is None


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'wandb', 'pytorch_lightning', 'torchmetrics', 'torchvision', 'matplotlib', 'numpy'}"
    code = f"import sys, src.train, src.run; print(sorted({heavy} & set(sys.modules)))"
    assert new_python("-c", code).stdout.strip() == "[]"
