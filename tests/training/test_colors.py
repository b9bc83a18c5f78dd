"""`color=NAME`: what is optimised, what is saved and measured, in pyramids, batches and resumed runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from src.data.images import read_image, to_tensor
from src.evaluation.ssim import ssim
from src.ops.color import luma, match_colors, to_oklab
from src.run import resume, run, run_batch
from src.tracking.record import RunRecord
from tests.support.prepare import prepare, prepare_run
from tests.support.runs import run_until

PAIR = ("content=cat", "style=brushwork", "loss=moments", "canvas.space=pixel", "captures=[1.0]")


def _saved(folder: Path) -> torch.Tensor:
    picture = read_image(folder / "image.png")
    return to_tensor(picture, picture.size)


@pytest.mark.parametrize("color", ["luminance", "content"])
def test_the_saved_picture_has_the_colours_of_the_content(color: str, small: Callable, tmp_path: Path) -> None:
    config = small(*PAIR, f"color={color}")
    record = run(config, tmp_path)
    content, saved = prepare_run(config).load_inputs(48).content, _saved(tmp_path)
    chroma = (lambda image: image - luma(image)) if color == "luminance" else (lambda image: to_oklab(image)[:, 1:])
    assert (chroma(saved) - chroma(content)).abs().median() < 0.005
    assert (luma(saved) - luma(content)).abs().mean() > 0.02, "brightness has changed"
    assert record.ssim == pytest.approx(ssim(saved, content), abs=5e-3), "SSIM is that of what is saved"
    assert record.status == "finished" and record.gram_distance is not None


def test_only_brightness_is_optimised_under_luminance(small: Callable) -> None:
    prepared = prepare(small(*PAIR, "color=luminance", "canvas.space=pixel"))
    assert [parameter.shape for parameter in prepared.image.parameters()] == [(1, 1, 32, 48)]
    for image in (prepared.inputs.content, prepared.inputs.style, prepared.image.image()):
        assert torch.equal(image[:, 0], image[:, 2])


@pytest.mark.parametrize("init", ["content", "style"])
def test_the_style_is_recoloured_first_under_match(init: str, small: Callable) -> None:
    prepared = prepare(small(*PAIR, "color=match", f"init={init}"))
    original = prepared.run.originals
    torch.testing.assert_close(prepared.inputs.style, match_colors(original.style, original.content).clamp(0, 1))
    assert torch.equal(prepared.inputs.content, original.content)
    if init == "style":
        mean = prepared.image.image().mean((2, 3))
        torch.testing.assert_close(mean, original.content.mean((2, 3)), rtol=0, atol=0.02)


def test_a_batch_recolours_one_style_for_each_content(small: Callable, tmp_path: Path) -> None:
    configs = [small(*PAIR, "color=match", "fit=squash", f"content={name}") for name in ("cat", "coffee")]
    together = run_batch([(config, tmp_path / str(number)) for number, config in enumerate(configs)])
    for number, config in enumerate(configs):
        alone, batched = run(config, tmp_path / f"alone{number}"), together[number]
        assert isinstance(batched, RunRecord) and batched.batch == 2
        assert batched.captures[-1].losses == alone.captures[-1].losses


@pytest.mark.parametrize("color", ["luminance", "match", "content"])
def test_a_pyramid_resumes_bit_for_bit(color: str, small: Callable, tmp_path: Path) -> None:
    config = small(*PAIR, f"color={color}", "edge=96", "schedule=pyramid", "schedule.average=0.5", "captures=[3,6]")
    whole = run(config, tmp_path / "whole")
    run_until(5, config, tmp_path / "stopped")
    resumed = resume(tmp_path / "stopped")
    assert [each.losses for each in resumed.captures] == [each.losses for each in whole.captures]
    pictures = [np.asarray(read_image(tmp_path / each / "image.png")) for each in ("whole", "stopped")]
    assert np.array_equal(*pictures)
