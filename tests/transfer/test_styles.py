"""Several styles at several sizes: the mixture that the terms measure, and runs with it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from src.common.errors import InputError
from src.config.identity import identity
from src.config.schema import style_shares
from src.config.validation import validate
from src.data.sources import check_local_files
from src.ops.gram import FeatureStatistics
from src.ops.patches import StylePatches
from src.ops.sorting import quantiles
from src.run import resume, run
from src.training.grouping import grouped
from src.transfer.objective import build_objective
from src.transfer.terms.base import Inputs, StyleImage
from src.transfer.terms.registry import STYLE_TERMS
from tests.support.features import statistics_of
from tests.support.pictures import smooth_image, write_smooth_picture
from tests.support.prepare import prepare
from tests.support.runs import run_until

EVERY_TERM = ("loss=patches", "loss.palette=0.3", f"loss.terms=[{','.join(STYLE_TERMS)}]")
BLEND = ("blend.styles=[dots,swell]", "blend.weights=[0.5,0.25]")


def _features(seed: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 5, height, width, generator=generator, dtype=torch.float64) * (seed + 1) + seed


def test_statistics_of_a_mixture_are_those_of_all_positions_together() -> None:
    features = [_features(1, 4, 6), _features(2, 8, 9)]  # 24 and 72 positions: a quarter and three quarters
    mixed = FeatureStatistics.mixture([statistics_of(each) for each in features], [0.25, 0.75])
    together = np.concatenate([each.flatten(2)[0].numpy() for each in features], 1)
    np.testing.assert_allclose(mixed.mean[0], together.mean(1), rtol=1e-12)
    np.testing.assert_allclose(mixed.covariance[0], np.cov(together, bias=True), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mixed.gram[0] / mixed.positions, together @ together.T / 96, rtol=1e-12)


def test_other_shares_count_positions_as_often() -> None:
    one, other = _features(1, 2, 3), _features(2, 2, 3)
    mixed = FeatureStatistics.mixture([statistics_of(each) for each in (one, other)], [0.4, 0.6])
    together = np.concatenate([one.flatten(2)[0].numpy()] * 2 + [other.flatten(2)[0].numpy()] * 3, 1)
    np.testing.assert_allclose(mixed.covariance[0], np.cov(together, bias=True), rtol=1e-10)


def test_quantiles_of_a_mixture_are_those_of_all_colours_together() -> None:
    values = [_features(1, 1, 24)[:, :, 0], _features(0, 1, 72)[:, :, 0]]
    found = quantiles(values, [0.25, 0.75], 50)
    expected = np.quantile(torch.cat(values, 2)[0].numpy(), np.linspace(0, 1, 50), axis=1).T
    np.testing.assert_allclose(found[0], expected, rtol=1e-10)
    shared = quantiles([values[0], values[0]], [0.3, 0.7], 200)
    alone = np.quantile(values[0][0].numpy(), np.linspace(0, 1, 200), axis=1).T
    assert np.abs(shared[0].numpy() - alone).max() < 0.2  # between the same 24 values


def test_patches_of_all_styles_are_searched() -> None:
    one, other = _features(1, 5, 6), _features(2, 7, 4)
    alone = [StylePatches(each, torch.float64) for each in (one, other)]
    both = StylePatches.mixed(alone, [0.5, 0.5])
    assert torch.equal(both.patches, torch.cat([each.patches for each in alone]))
    assert torch.allclose(both.energy, (alone[0].energy + alone[1].energy) / 2)


@pytest.mark.parametrize(
    ("given", "shares"),
    [([], [1 / 3] * 3), ([0.5, 0.25], [0.25, 0.5, 0.25]), ([1, 2, 1], [0.25, 0.5, 0.25]), ([0, 0], [1, 0, 0])],
)
def test_style_has_what_is_left_of_the_shares(small: Callable, given: list[float], shares: list[float]) -> None:
    assert style_shares(small(*BLEND[:1], f"blend.weights={given}")) == pytest.approx(shares)


def test_shares_that_sum_to_1_up_to_rounding_leave_nothing_to_style(small: Callable) -> None:
    assert 1 - sum([0.3, 0.6, 0.1]) != 0 and sum([0.2, 0.4, 0.3, 0.1]) > 1
    for weights in ([0.3, 0.6, 0.1], [0.2, 0.4, 0.3, 0.1]):
        styles = ["dots", "swell", "tesserae", "brushwork"][: len(weights)]
        config = small(f"blend.styles=[{','.join(styles)}]", f"blend.weights={weights}")
        validate(config)
        assert style_shares(config) == [0.0, *weights]


def test_a_style_of_weight_0_changes_nothing(small: Callable, tmp_path: Path) -> None:
    one = run(small(), tmp_path / "one")
    other = run(small("blend.styles=[dots]", "blend.weights=[0]"), tmp_path / "other")
    assert one.captures[-1].losses == other.captures[-1].losses
    assert (tmp_path / "one/image.png").read_bytes() == (tmp_path / "other/image.png").read_bytes()


def test_a_blend_is_recorded_and_resumes(small: Callable, tmp_path: Path) -> None:
    write_smooth_picture(tmp_path / "my.jpg", 40, 60)
    config = small("schedule=pyramid", f"blend.styles=[dots,{tmp_path}/my.jpg]", "style_scale=[1,0.6]", "steps=8")
    whole = run(config, tmp_path / "whole")
    assert set(whole.further_sha256) == {"blend.styles[0]", "blend.styles[1]"}
    assert whole.found()["further_sha256"] == whole.further_sha256
    run_until(5, config, tmp_path / "part")
    assert resume(tmp_path / "part").captures[-1].losses == whole.captures[-1].losses
    write_smooth_picture(tmp_path / "my.jpg", 40, 60, seed=1)
    with pytest.raises(InputError, match=r"my\.jpg has changed since this run finished"):
        run(config, tmp_path / "whole")


def test_styles_come_at_each_scale_in_equal_parts(small: Callable) -> None:
    inputs = prepare(small(*BLEND, "style_scale=[1,0.5]")).inputs
    assert [style.weight for style in inputs.styles] == [0.125, 0.125, 0.25, 0.25, 0.125, 0.125]
    assert [max(style.image.shape[2:]) for style in inputs.styles] == [48, 24] * 3


def test_jobs_that_differ_in_their_blend_share_a_batch(small: Callable) -> None:
    jobs = [small("loss=moments"), small("loss=moments", *BLEND), small("loss=moments", *BLEND, "seed=1")]
    assert grouped(jobs, 8).together == [[0, 1, 2]]
    assert grouped([*jobs[:2], small("loss=moments", "style_scale=0.5")], 8).together == [[0, 1]]


def test_identity_of_a_blend(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert identity(small("blend.styles=[my.jpg]"))["blend"]["styles"] == [str(tmp_path / "my.jpg")]
    same = [small(*BLEND[:1], f"blend.weights={weights}") for weights in ([0.5, 0.25], [1, 2, 1])]
    assert identity(same[0]) == identity(same[1]) != identity(small())
    assert identity(small("style_scale=1")) == identity(small("style_scale=[1.0]")) == identity(small())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["blend.styles=[dotz]"], "blend.styles: dotz is unknown; a file, or one of: .*dots"),
        (["blend.styles=[no/file.png]"], r"blend\.styles\[0\]: no such file: .*no/file\.png"),
        (["blend.styles=[dots]", "blend.weights=[1.5]"], r"blend\.weights needs a share .*not \[1\.5\]"),
        (["blend.styles=[dots]", "blend.weights=[1,2,3]"], r"blend\.weights needs a share .*not \[1\.0, 2\.0, 3\.0\]"),
        (["style_scale=0"], "style_scale is a number above 0 .*not 0"),
        (["style_scale=big"], "style_scale is a number above 0 .*not big"),
        (["style_scale=[]"], r"style_scale is a number above 0 .*not \[\]"),
    ],
)
def test_what_is_wrong_with_styles_is_said_in_one_line(small: Callable, overrides: list[str], message: str) -> None:
    config = small(*overrides)
    with pytest.raises(InputError, match=message) as caught:
        validate(config)
        check_local_files(config)
    assert "\n" not in str(caught.value)


def test_a_style_scale_that_is_too_small_names_the_least_edge(small: Callable) -> None:
    with pytest.raises(InputError, match=r"edge=48 style_scale=0\.1 the style image would be .*: use edge=\d+ or more"):
        prepare(small("style_scale=0.1"))


def test_a_style_without_a_share_changes_no_term(small: Callable) -> None:
    image = smooth_image(3, 48, 48)
    found = [
        prepare(small("fit=squash", *EVERY_TERM, *more)).objective(image, full=True).metrics()
        for more in ((), ("blend.styles=[dots]", "blend.weights=[0]", "style_scale=[1]"))
    ]
    assert found[0] == found[1]


def test_a_style_mixed_with_itself_changes_nothing(small: Callable) -> None:
    image = smooth_image(3, 48, 48)
    (alone,), (twice,) = (
        prepare(small("fit=squash", *EVERY_TERM, *more)).objective(image, full=True).metrics()
        for more in ((), ("blend.styles=[brushwork]", "blend.weights=[0.25]"))
    )
    assert twice == pytest.approx(alone, rel=1e-2), "quantiles are resampled"
    exact = [name for name in alone if not any(each in name for each in ("palette", "sliced", "total"))]
    assert {name: twice[name] for name in exact} == pytest.approx({name: alone[name] for name in exact}, rel=1e-4)


@pytest.mark.parametrize("term", [*STYLE_TERMS, "patches"])
def test_the_second_style_pulls_in_proportion_to_its_share(term: str, small: Callable) -> None:
    """The loss at the second style falls, and that at the first rises, with the second one's share."""
    terms = ("loss=patches", "loss.patches=1") if term == "patches" else ("loss=moments", f"loss.terms=[{term}]")
    config = small(*terms, "loss.palette=0", "loss.alpha=0", "fit=squash", "edge=64")
    encoder = prepare(config).encoder
    first, second = smooth_image(1, 64, 64), 1 - smooth_image(2, 64, 64)

    def loss(image: torch.Tensor, share: float) -> float:
        styles = (StyleImage(first, 1 - share), StyleImage(second, share))
        inputs = Inputs(first, tuple(style for style in styles if style.weight))
        return build_objective(config, encoder, inputs)(image).total.item()

    at_second = [loss(second, share) for share in (0.0, 0.5, 1.0)]
    smallest = 0.2 if term == "patches" else 1e-3  # overlapping patches are averaged
    assert at_second[0] > at_second[1] >= at_second[2] * 0.5 and at_second[2] < smallest * at_second[0]
    assert loss(first, 1.0) > loss(first, 0.5)
