"""The command of a record composes to the configuration of the record."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import InputError
from src.config.composition import compose
from src.config.identity import identity
from src.config.schema import plain
from src.report.options import result_options
from src.report.reproduction import command, implied_options, overrides
from src.tracking.record import RunRecord

AWKWARD = "a, b=[c] {d} 'e' \"f\" $g `h` \\ ~i+.png"
CASES = [
    (),
    ("experiment=paper", "content=beach", "style=udnie"),
    ("loss=normalized", "loss.alpha=0", "init=noise", "seed=3", "loss.tv=1e-4"),
    ("layers=c", "layers.weights=[0.5,0.25,0.25]"),
    ("layers.content=relu3_1", "layers.style=[relu1_1,conv3_2]"),
    ("optimizer=lbfgs", "schedule=pyramid", "schedule.sizes=3", "steps=300", "captures=[50,100]"),
    ("backbone=vgg16", "backbone.pool=avg", "backbone.weights=random", "precision=64", "stop_at_loss=0.1"),
    ("canvas.space=pixel", "canvas.clamp=false", "fit=squash", "edge=100", "init=style"),
]


def recorded(*options: str) -> RunRecord:
    """Return the record of a run with these overrides."""
    return RunRecord(status="finished", config=plain(compose(options)))


@pytest.mark.parametrize("options", CASES, ids=" ".join)
def test_the_command_composes_to_the_run(options: tuple[str, ...]) -> None:
    record = recorded(*options)
    words = shlex.split(command(record))
    assert words[:3] == ["python", "-m", "src.train"]
    assert identity(compose(words[3:])) == identity(compose(options))


def test_it_names_only_what_is_not_the_default() -> None:
    assert overrides(recorded("content=cat", "style=dots")) == ["content=cat", "style=dots"]
    assert overrides(recorded("content=cat", "style=dots", "layers=b", "logger=none")) == [
        *("content=cat", "style=dots", "layers=b")
    ]


def test_it_names_swept_options_even_at_their_defaults() -> None:
    record = recorded("content=cat", "style=dots", "layers.weights=[1,1,1,1,1]")
    told = ("layers.name", "loss.beta", "trial", "loss.substitute", "layers.weights")
    layers, beta = record.options.layers.name, record.options.loss.beta
    assert overrides(record, told) == [
        *("content=cat", "style=dots", f"layers={layers}", "layers.weights=[1.0,1.0,1.0,1.0,1.0]", f"loss.beta={beta}")
    ]


def test_options_that_an_older_version_lacks_are_at_their_defaults() -> None:
    options = ("content=cat", "style=dots", "schedule.sizes=3", "seed=5")
    old = recorded(*options)
    del old.config["trial"], old.config["schedule"]["carry"]
    assert overrides(old) == list(options)
    old.config["schedule"]["unheard"] = 1
    with pytest.raises(InputError, match="unheard"):
        overrides(old)


def test_options_that_follow_from_a_name_are_implied() -> None:
    record = recorded("layers=a", "loss=published", "loss.beta=5", "optimizer.lr=0.02")
    implied = implied_options(record, result_options(record))
    assert {"layers.style", "loss.substitute", "layers.content", "optimizer.lr"} <= implied
    assert not implied & {"layers.name", "loss.name", "loss.beta"}


@pytest.mark.parametrize("name", [AWKWARD, "null", "true", "1e3", "end\\"])
def test_files_by_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    config = plain(compose(["content=file", "content.path=there", "style=dots"]))
    for path in (str(tmp_path / name), name):
        config["content"]["path"] = path
        record = RunRecord(status="finished", config=config)
        again: Any = compose(shlex.split(command(record))[3:])
        assert again.content.path == path and again.style.name == "dots"
