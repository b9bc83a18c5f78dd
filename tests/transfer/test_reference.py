"""The reference term: its value and gradient, its options, and a run that stays near a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.common.errors import InputError
from src.config.identity import identity
from src.data.images import read_image
from src.ops.gram import squared_distance
from src.run import resume, run
from src.transfer.image_models.laplacian import LaplacianImage
from src.transfer.objective import Objective
from src.transfer.terms.base import Measured
from src.transfer.terms.reference import ReferenceTerm, merged
from tests.support.prepare import prepare
from tests.support.runs import run_until


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of noise at the size of the small run."""
    values = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.fixture
def left_half(tmp_path: Path) -> Path:
    """A weight map: 1 on the left, 0 on the right."""
    values = np.zeros((48, 48), np.uint8)
    values[:, :24] = 255
    Image.fromarray(values).save(tmp_path / "left.png")
    return tmp_path / "left.png"


def test_value_and_gradient_have_their_closed_forms(small: Callable, picture: Path, left_half: Path) -> None:
    config = small(f"reference.images=[{picture}]", f"reference.weights=[{left_half}]", "precision=64")
    objective = prepare(config).objective
    weight, term = objective.weights["reference"], objective.terms["reference"]
    assert weight == config.loss.reference
    reference = torch.from_numpy(np.asarray(read_image(picture), np.float64) / 255).permute(2, 0, 1)[None]
    image = torch.rand(1, 3, 48, 48, dtype=torch.float64, requires_grad=True)
    value = term(Measured(image, {}, {})).total
    error = (image - reference)[..., :24]
    torch.testing.assert_close(value, error.square().sum()[None] / (3 * 48 * 48), rtol=1e-6, atol=0)
    value.sum().backward()
    torch.testing.assert_close(image.grad[..., :24], 2 * error.detach() / (3 * 48 * 48), rtol=1e-5, atol=1e-9)
    assert not bool(image.grad[..., 24:].any())


def test_without_references_there_is_no_term(small: Callable) -> None:
    assert "reference" not in prepare(small()).objective.terms


def test_a_batch_has_the_values_of_its_members(small: Callable, picture: Path, left_half: Path) -> None:
    near = f"reference.images=[{picture}]"
    members = [
        prepare(small(near, *more, "precision=64"))
        for more in ((), (f"reference.weights=[{left_half}]",), (f"reference.images=[{picture},{left_half}]",))
    ]
    image = torch.rand(3, 3, 48, 48, dtype=torch.float64)
    terms = [member.objective.terms["reference"] for member in members]
    together = ReferenceTerm.join(terms)(Measured(image, {}, {})).total
    alone = [term(Measured(image[at : at + 1], {}, {})).total for at, term in enumerate(terms)]
    torch.testing.assert_close(together, torch.cat(alone))
    joined = Objective.join([members[0].objective, members[1].objective])
    assert set(joined.terms) == set(members[0].objective.terms)


@pytest.mark.parametrize(
    "options", [("optimizer=adam",), ("schedule=simultaneous", "schedule.smallest=64", "edge=128")]
)
def test_a_run_stays_near_its_reference_where_it_counts(
    options: tuple[str, ...], small: Callable, left_half: Path, tmp_path: Path
) -> None:
    reference = tmp_path / "grey.png"
    Image.new("RGB", (48, 48), (90, 120, 150)).save(reference)
    near = (f"reference.images=[{reference}]", f"reference.weights=[{left_half}]", "loss.reference=1e5")
    record = run(small(*options, *near, "steps=30", "canvas.space=pixel"), tmp_path / "run")
    assert record.captures[-1].losses["reference"] < 5e-3
    image = np.asarray(read_image(tmp_path / "run/image.png"), np.float64)
    width = image.shape[1]
    distance = np.abs(image - (90, 120, 150)).mean((0, 2))
    assert distance[: width // 2 - 8].mean() < 20 < distance[width // 2 + 8 :].mean()


def test_luminance_compares_brightness(small: Callable, picture: Path) -> None:
    inputs = prepare(small(f"reference.images=[{picture}]", "color=luminance")).inputs
    [reference] = inputs.references
    assert torch.equal(reference.image[:, 0], reference.image[:, 2])


def test_a_frame_is_started_from_and_changes_no_fine_colours(small: Callable, picture: Path, tmp_path: Path) -> None:
    config = small("init=frame", f"init.path={picture}", "captures=[0]", "steps=2")
    assert type(prepare(config).image) is LaplacianImage
    run(config, tmp_path / "run")
    assert (tmp_path / "run/captures/step_000000.png").is_file()
    start = np.asarray(read_image(tmp_path / "run/captures/step_000000.png"))
    assert np.array_equal(start, np.asarray(read_image(picture)))


def test_a_run_with_references_resumes_and_notices_other_files(
    small: Callable, picture: Path, left_half: Path, tmp_path: Path
) -> None:
    config = small(f"reference.images=[{picture}]", f"reference.weights=[{left_half}]", "checkpoint_every=1")
    run_until(3, config, tmp_path / "run")
    Image.new("RGB", (48, 48)).save(left_half)
    with pytest.raises(InputError, match=r"reference.weights\[0\] image .* has changed since this run began"):
        resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("reference.images=[a.png]", "reference.weights=[b.png,c.png]"), "needs a file for each of reference.images"),
        (("reference.images=[a.png]", "color=content"), "cannot be combined with color=content"),
        (("reference.images=[a.png]",), r"reference.images\[0\]: no such file: a.png"),
        (("init=frame",), "init=frame needs init.path=FILE"),
        (("loss.reference=-1",), "loss.reference must be zero or positive"),
    ],
)
def test_bad_options_are_one_line(options: tuple[str, ...], message: str, small: Callable, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(small(*options), tmp_path)


def test_a_folder_without_references_holds_another_run(small: Callable, picture: Path, tmp_path: Path) -> None:
    run(small("steps=1"), tmp_path / "run")
    with pytest.raises(InputError, match=r"holds another run \(it differs in loss, reference\)"):
        run(small("steps=1", f"reference.images=[{picture}]"), tmp_path / "run")


def test_references_are_part_of_a_runs_identity(small: Callable, picture: Path) -> None:
    assert identity(small()) != identity(small(f"reference.images=[{picture}]"))


def test_merged_references_have_the_same_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(2, 3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    weights = [torch.rand(2, 1, 5, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    for weight in weights:
        weight[..., 0, :] = 0  # a row that no reference has
    x = torch.rand(2, 3, 5, 4, generator=generator, dtype=torch.float64)
    image, weight, constant = merged(images, weights)
    expected = sum((each * (x - one).square()).sum((1, 2, 3)) for one, each in zip(images, weights, strict=True))
    torch.testing.assert_close(squared_distance(x, image, weight) + constant, expected)
    assert bool(image.isfinite().all()) and not bool(weight[..., 0, :].any())


def test_one_reference_is_kept_as_it_is() -> None:
    image = torch.rand(1, 3, 4, 4)
    found, weight, constant = merged([image], [torch.full((1, 1, 4, 4), 0.25)])
    torch.testing.assert_close(found, image)
    assert torch.equal(weight, torch.full((1, 1, 4, 4), 0.25)) and float(constant) < 1e-12
