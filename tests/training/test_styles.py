"""`blend.styles` and `style_scale`: several style images and sizes in one run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.common.errors import InputError
from src.config.schema import RunConfig, style_shares
from src.encoders.checkpointing import KEEP_ALL
from src.ops.gram import FeatureStatistics
from src.run import resume, run, run_batch
from src.transfer.objective import build_objective
from src.transfer.terms.base import Inputs, StyleImage
from src.transfer.terms.registry import STYLE_TERMS
from src.transfer.terms.style import statistics
from tests.support.pictures import smooth_image
from tests.support.prepare import prepare
from tests.support.runs import run_until

PAIR = ("content=cat", "style=brushwork", "captures=[1.0]")
EVERY_TERM = ("loss=patches", "loss.palette=0.3", f"loss.terms=[{','.join(STYLE_TERMS)}]")


def test_shares_of_the_styles_sum_to_one(small: Callable) -> None:
    assert style_shares(small("blend.styles=[dots]")) == [0.5, 0.5]
    assert style_shares(small("blend.styles=[dots,swell]", "blend.weights=[0.5,0.2]")) == pytest.approx([0.3, 0.5, 0.2])


def test_a_style_without_a_share_changes_nothing(small: Callable) -> None:
    image = smooth_image(3, 48, 48)
    found = [
        prepare(small(*PAIR, "fit=squash", *EVERY_TERM, *more)).objective(image, full=True).metrics()
        for more in ((), ("blend.styles=[dots]", "blend.weights=[0]", "style_scale=[1]"))
    ]
    assert found[0] == found[1]


def test_a_style_mixed_with_itself_changes_nothing(small: Callable) -> None:
    image = smooth_image(3, 48, 48)
    (alone,), (twice,) = (
        prepare(small(*PAIR, "fit=squash", *EVERY_TERM, *more)).objective(image, full=True).metrics()
        for more in ((), ("blend.styles=[brushwork]", "blend.weights=[0.25]"))
    )
    assert twice == pytest.approx(alone, rel=1e-2), "quantiles are resampled"
    exact = [name for name in alone if not any(each in name for each in ("palette", "sliced", "total"))]
    assert {name: twice[name] for name in exact} == pytest.approx({name: alone[name] for name in exact}, rel=1e-4)


def test_two_halves_of_an_image_have_the_statistics_of_the_whole(small: Callable) -> None:
    """Features of an image whose right half repeats its left one are those of the halves, but for the borders."""
    config = small(*PAIR, "precision=64")
    prepared, taps = prepare(config), config.layers.style[:1]
    parts = [smooth_image(seed, 64, 64).double() for seed in (1, 2)]
    found = [statistics(prepared.encoder, each, taps, KEEP_ALL)[taps[0]] for each in parts]
    mixed = FeatureStatistics.mixed(found, [0.5, 0.5])
    side_by_side = statistics(prepared.encoder, torch.cat(parts, 3), taps, KEEP_ALL)[taps[0]]
    for name in ("mean", "covariance"):
        expected = getattr(side_by_side, name)
        assert (getattr(mixed, name) - expected).norm() < 0.02 * expected.norm()
    assert (mixed.covariance - (found[0].covariance + found[1].covariance) / 2).norm() > 1e-3 * mixed.covariance.norm()


@pytest.mark.parametrize("term", [*STYLE_TERMS, "patches"])
def test_the_second_style_pulls_in_proportion_to_its_share(term: str, small: Callable) -> None:
    """The loss at the second style falls, and that at the first rises, with the second one's share."""
    terms = ("loss=patches", "loss.patches=1") if term == "patches" else ("loss=moments", f"loss.terms=[{term}]")
    config = small(*PAIR, *terms, "loss.palette=0", "loss.alpha=0", "fit=squash", "edge=64")
    encoder = prepare(config).encoder
    first, second = smooth_image(1, 64, 64), 1 - smooth_image(2, 64, 64)

    def loss(image: torch.Tensor, share: float) -> float:
        styles = (StyleImage(first, 1 - share), StyleImage(second, share))
        inputs = Inputs(first, tuple(style for style in styles if style.share))
        return build_objective(config, encoder, inputs)(image).total.item()

    at_second = [loss(second, share) for share in (0.0, 0.5, 1.0)]
    smallest = 0.2 if term == "patches" else 1e-3  # overlapping patches are averaged
    assert at_second[0] > at_second[1] >= at_second[2] * 0.5 and at_second[2] < smallest * at_second[0]
    assert loss(first, 1.0) > loss(first, 0.5)


def test_sizes_of_the_style_are_relative_to_the_edge(small: Callable) -> None:
    prepared = prepare(small(*PAIR, "blend.styles=[dots]", "blend.weights=[0.4]", "style_scale=[1,0.5]", "edge=64"))
    found = [(max(style.image.shape), style.share) for style in prepared.inputs.styles]
    assert found == [(64, pytest.approx(0.3)), (32, pytest.approx(0.3)), (64, 0.2), (32, 0.2)]
    (only,) = prepare(small(*PAIR, "style_scale=2", "edge=48")).inputs.styles
    assert max(only.image.shape) == 96 and only.share == 1


def test_a_blend_resumes_batches_and_names_its_files(small: Callable, tmp_path: Path) -> None:
    mine = tmp_path / "mine.png"
    Image.fromarray((smooth_image(5, 60, 70)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(mine)
    more = (*PAIR, f"blend.styles=[dots,{mine}]", "fit=squash", "schedule=pyramid", "edge=96", "logger=csv")
    whole = run(small(*more), tmp_path / "whole")
    assert sorted(whole.blend_sha256) == ["style_2", "style_3"]
    run_until(4, small(*more), tmp_path / "cut")
    again = resume(tmp_path / "cut")
    assert again.captures[-1].losses == whole.captures[-1].losses
    configs = [small(*more, f"content={name}") for name in ("cat", "coffee")]
    together = run_batch([(config, tmp_path / f"batch{number}") for number, config in enumerate(configs)])
    assert together[0].captures[-1].losses == whole.captures[-1].losses
    run_until(4, small(*more), tmp_path / "changed")
    shutil.copy(tmp_path / "whole" / "image.png", mine)
    with pytest.raises(InputError, match=r"mine\.png has changed since this run began"):
        resume(tmp_path / "changed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("blend.styles=[dots]", "blend.weights=[0.5,0.5]"), "blend.weights needs a share for each of"),
        (("blend.styles=[dots]", "blend.weights=[1.5]"), "together at most 1"),
        (("blend.styles=[no_such]",), "blend.styles: no_such is neither a file nor a style; the styles: "),
        (("style_scale=0",), r"style_scale is one or several different numbers from 0\.125 to 8, not 0"),
        (("style_scale=[1,1]",), "style_scale is one or several different numbers"),
        (("style_scale=[]",), "style_scale is one or several different numbers"),
        (("style_scale=big",), "style_scale is one or several different numbers"),
        (("style_scale=0.125",), "style_scale=0.125 makes the style image 6x6 px at edge=48"),
    ],
)
def test_what_cannot_be_mixed_is_said_in_one_line(
    options: tuple[str, ...], message: str, small: Callable, tmp_path: Path
) -> None:
    config: RunConfig = small(*PAIR, "fit=squash", *options)
    with pytest.raises(InputError, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists() or not (tmp_path / "run" / "record.json").exists()
