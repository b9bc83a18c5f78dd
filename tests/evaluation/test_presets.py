"""Tests that each preset of the paper's experiments isolates what it names."""

import functools
import itertools
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.config.composition import compose
from src.config.schema import CONF, RunConfig
from src.run import run

# What each preset is about, and the term that its total loss leaves out.
PRESETS = {"layer_ablation": None, "alpha_beta": None, "content_layers": "style", "style_layers": "content"}
TINY = (
    *("content=cat", "style=dots", "edge=32", "steps=2", "captures=[1]", "logger=none", "trainer=cpu"),
    *("trainer.threads=1", "precision=32", "trainer.compile=never"),
)


def _swept(name: str) -> dict[str, list[str]]:
    params = OmegaConf.load(CONF / "experiment" / f"{name}.yaml").hydra.sweeper.params
    return {option: str(values).split(",") for option, values in params.items()}


@functools.cache
def _configs(name: str) -> list[RunConfig]:
    swept = _swept(name)
    choices = itertools.product(*swept.values())
    return [
        compose([f"experiment={name}", *(f"{key}={value}" for key, value in zip(swept, choice, strict=True)), *TINY])
        for choice in choices
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_the_loss_is_made_of_content_and_layer_statistics_alone(name: str, tmp_path: Path) -> None:
    configs = _configs(name)
    for number, config in enumerate((configs[0], configs[-1])):
        record = run(config, tmp_path / str(number))
        losses = record.captures[-1].losses
        terms = {"content": config.loss.alpha, "style": config.loss.beta}
        assert {key.partition("/")[0] for key in losses} <= {"total", *terms}
        assert losses["total"] == pytest.approx(sum(weight * losses[term] for term, weight in terms.items()), rel=1e-5)
        if left_out := PRESETS[name]:
            assert terms[left_out] == 0


@pytest.mark.parametrize("name", PRESETS)
def test_the_start_holds_no_style_and_noise_is_drawn_with_two_seeds(name: str) -> None:
    for config in _configs(name):
        assert config.init.name in ("content", "noise")
        assert (config.init.name == "noise") == (len(_swept(name).get("seed", [])) == 2)


def test_the_layer_presets_reconstruct_from_each_block() -> None:
    assert [config.layers.content[4] for config in _configs("content_layers")[::2]] == list("12345")
    for name, step in (("layer_ablation", 1), ("style_layers", 2)):
        assert [config.layers.name for config in _configs(name)[::step]] == list("abcde")
