"""The optimisation: one learnable tensor, losses that fall, values that belong to the picture they are said of."""

import csv
import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from src.common.errors import InputError, NonFiniteLoss
from src.config.schedule import Stage, Timetable, stages
from src.config.schema import Canvas as CanvasOptions
from src.config.schema import Init, Optimizer
from src.data.images import read_image, to_tensor
from src.data.sources import find_files
from src.ops.ema import Average
from src.ops.patches import StylePatches
from src.ops.patchwork import patchwork
from src.run import run
from src.training import metrics
from src.training.callbacks import CHECKPOINT
from src.training.loop import find_device
from src.training.module import StyleTransferModule
from src.training.preparation import Preparation, Prepared
from src.training.session import new_record
from src.transfer.canvas import Canvas, starting_image
from src.transfer.objective import Objective, Taps
from src.transfer.optimizers import build_optimizer, resize_moments, set_rate
from tests.support.pictures import smooth_image


def _prepared(config: object) -> Prepared:
    record = new_record(config)  # type: ignore[arg-type]
    device = find_device(config.trainer)  # type: ignore[attr-defined]
    preparation = Preparation(config, record, find_files(config), device)  # type: ignore[arg-type]
    return preparation.at(config.edge, None)  # type: ignore[attr-defined]


def _rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def _load(canvas: Canvas, folder: Path) -> None:
    state = torch.load(folder / CHECKPOINT, weights_only=True)["state_dict"]
    mine = {name.removeprefix("canvas."): value for name, value in state.items() if name.startswith("canvas.")}
    canvas.load_state_dict(mine)


@pytest.mark.parametrize("space", ["split", "pixel", "normalized"])
def test_the_image_is_all_that_learns(space: str, small: Callable) -> None:
    config = small(f"canvas.space={space}")
    prepared = _prepared(config)
    table, stage = Timetable(1, (1,), 1, 1), Stage(48, 0, 1)
    module = StyleTransferModule(prepared.canvas, prepared.objective, config.optimizer, table, stage)
    learnable = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    parts = [f"canvas.parts.{part}" for part in range(2 if space == "split" else 1)]
    assert learnable == parts == [name for name, _ in module.named_parameters()]
    assert list(module.state_dict()) == (["canvas.start", *parts] if space == "split" else parts)
    assert not any(parameter.requires_grad for parameter in prepared.objective.parameters())


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("loss", ["patches", "moments", "normalized", "equations", "published"])
@pytest.mark.parametrize("init", ["content", "noise"])
def test_five_steps_lower_the_loss(optimizer: str, loss: str, init: str, small: Callable, tmp_path: Path) -> None:
    record = run(small(f"optimizer={optimizer}", f"loss={loss}", "steps=5", f"init={init}"), tmp_path)
    assert record.captures[-1].loss_total < 0.98 * record.initial_loss
    assert record.evaluations >= 5 and record.loss_decay == record.initial_loss / record.captures[-1].loss_total


@pytest.mark.parametrize("init", ["content", "noise", "style", "file"])
def test_every_start_goes_down(init: str, small: Callable, tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "src/assets/styles/dots.jpg"
    more = [f"init.path={path}"] if init == "file" else []
    record = run(small(f"init={init}", "captures=[0]", "steps=5", *more), tmp_path)
    assert record.captures[0].step == 0 and record.captures[0].loss_total == pytest.approx(record.initial_loss)
    assert record.captures[-1].loss_total < record.initial_loss


@pytest.mark.parametrize("layers", "abcde")
def test_every_layer_set_goes_down(layers: str, small: Callable, tmp_path: Path) -> None:
    record = run(small(f"layers={layers}", "layers.content=relu1_1", "edge=32", "steps=5"), tmp_path)
    assert record.captures[-1].loss_total < record.initial_loss
    assert set(record.captures[-1].layers) == {f"relu{block}_1" for block in range(1, "abcde".index(layers) + 2)}


def test_one_weight_zero_leaves_the_other_term_alone(small: Callable, tmp_path: Path) -> None:
    content_only = run(small("loss.beta=0", "init=noise"), tmp_path / "content").captures[-1]
    style_only = run(
        small("loss.alpha=0", "loss.beta=20", "init=noise", "loss.palette=0"), tmp_path / "style"
    ).captures[-1]
    assert content_only.loss_total == pytest.approx(content_only.loss_content) and content_only.loss_style > 0
    assert style_only.loss_total == pytest.approx(20 * style_only.loss_style) and style_only.loss_content > 0


def test_lbfgs_moves_a_loss_that_is_small_in_its_units(small: Callable, tmp_path: Path) -> None:
    """Torch turns down curvature pairs below 1e-10, whatever the scale of the loss."""
    options = ("optimizer=lbfgs", "steps=12", "loss.alpha=1", "loss.beta=20", "logger=csv")
    record = run(small(*options, "loss.alpha=1e-9", "loss.beta=2e-8"), tmp_path)
    large = run(small(*options), tmp_path / "large")
    assert record.loss_decay == pytest.approx(large.loss_decay, rel=0.05) and record.loss_decay > 3
    assert record.initial_loss < 1e-5, "what is reported is not scaled"


def test_total_variation_makes_it_smoother(small: Callable, tmp_path: Path) -> None:
    def roughness(folder: Path) -> float:
        picture = read_image(folder / "image.png")
        image = to_tensor(picture, picture.size)
        return (image[..., 1:, :] - image[..., :-1, :]).square().mean().item()

    run(small("init=noise", "steps=20", "optimizer.lr=0.05"), tmp_path / "without")
    run(small("init=noise", "steps=20", "optimizer.lr=0.05", "loss.tv=100"), tmp_path / "with")
    assert roughness(tmp_path / "with") < 0.9 * roughness(tmp_path / "without")


def test_a_captures_losses_are_those_of_its_picture(small: Callable, tmp_path: Path) -> None:
    """Recomputed from the checkpoint's canvas, by hand: the loss at step n is of the image after n updates."""
    config = small("steps=6", "captures=[3,6]", "loss.tv=0.5")
    record = run(config, tmp_path)
    prepared = _prepared(config)
    with torch.no_grad():
        _load(prepared.canvas, tmp_path)
        prepared.objective.forget_matches(torch.load(tmp_path / CHECKPOINT, weights_only=True)["matches"])
        terms = prepared.objective(prepared.canvas.normalized())
    last = record.captures[-1]
    assert last.step == 6
    assert last.loss_total == pytest.approx(terms.total.item(), rel=1e-6)
    style = last.loss_style + config.loss.palette * terms.palette.item()
    parts = config.loss.alpha * last.loss_content + config.loss.beta * style + 0.5 * terms.tv.item()
    assert last.loss_total == pytest.approx(parts, rel=1e-5)
    assert last.ssim == pytest.approx(metrics.ssim(prepared.canvas.image(), prepared.content), abs=1e-6)
    assert last.file == "captures/step_000006.png"
    assert (tmp_path / last.file).read_bytes() == (tmp_path / "image.png").read_bytes()


def test_a_share_of_the_style_loss_asks_for_patches(small: Callable) -> None:
    def layers(share: float) -> dict[str, float]:
        prepared = _prepared(small(f"loss.patches={share}"))
        with torch.no_grad():
            return {tap: each.item() for tap, each in prepared.objective(prepared.canvas.normalized()).layers.items()}

    statistics, patches, both = layers(0), layers(1), layers(0.25)
    assert statistics["relu1_1"] == patches["relu1_1"] == both["relu1_1"], "the first block has statistics alone"
    assert patches["relu2_1"] != pytest.approx(statistics["relu2_1"], rel=0.1)
    assert both["relu2_1"] == pytest.approx(0.75 * statistics["relu2_1"] + 0.25 * patches["relu2_1"], rel=1e-6)


def test_patches_are_looked_up_again_when_it_is_time(small: Callable, tmp_path: Path) -> None:
    more = ("loss.rematch=4", "optimizer.decay=0", "optimizer.lr=0.1", "captures=[1.0]")
    run(small("steps=4", *more), tmp_path / "four")
    run(small("steps=7", *more), tmp_path / "seven")
    prepared = _prepared(small(*more))
    with torch.no_grad():
        prepared.objective(prepared.canvas.normalized())
        first = prepared.objective.matches["relu2_1"]
        prepared.objective.forget_matches()
        _load(prepared.canvas, tmp_path / "four")
        prepared.objective(prepared.canvas.normalized())
    assert torch.equal(torch.load(tmp_path / "four" / CHECKPOINT, weights_only=True)["matches"]["relu2_1"], first)
    found = torch.load(tmp_path / "seven" / CHECKPOINT, weights_only=True)["matches"]["relu2_1"]
    assert torch.equal(found, prepared.objective.matches["relu2_1"]) and not torch.equal(found, first)


def test_patches_that_the_start_s_capture_looked_up_serve_the_first_step(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    nearest = StylePatches.nearest
    monkeypatch.setattr(StylePatches, "nearest", lambda self, image: (asked.append(1), nearest(self, image))[1])
    run(small("steps=1", "captures=[0]"), tmp_path / "captured")
    captured = len(asked)
    run(small("steps=1", "captures=[1.0]"), tmp_path / "not")
    assert 0 < captured == len(asked) - captured
    images = [(tmp_path / each / "image.png").read_bytes() for each in ("captured", "not")]
    assert images[0] == images[1]


def test_a_batch_of_two_equals_two_singles(small: Callable) -> None:
    prepared = _prepared(small())
    objective = prepared.objective
    images = torch.rand(2, *prepared.content.shape[1:], generator=torch.Generator().manual_seed(0))
    batch = images.clone().requires_grad_()
    together = objective(objective.extractor.normalize(batch))
    together.total.sum().backward()
    for index in range(2):
        single = images[index : index + 1].clone().requires_grad_()
        objective.forget_matches()
        alone = objective(objective.extractor.normalize(single))
        alone.total.sum().backward()
        torch.testing.assert_close(together.total[index : index + 1], alone.total, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(batch.grad[index : index + 1], single.grad, rtol=1e-3, atol=1e-8)


def test_ssim_equals_scikit_image_away_from_the_border() -> None:
    """Torchmetrics averages over the whole map, reflected border included: compare where both see the same pixels."""
    generator = torch.Generator().manual_seed(0)
    content = torch.rand(1, 3, 48, 40, generator=generator)
    image = (content + 0.2 * torch.randn(content.shape, generator=generator)).clamp(0, 1)
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    _, ours = ssim(image, content, data_range=1.0, return_full_image=True)
    _, theirs = structural_similarity(
        image[0].permute(1, 2, 0).double().numpy(), content[0].permute(1, 2, 0).double().numpy(), data_range=1.0,
        channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
    )  # fmt: skip
    np.testing.assert_allclose(ours[0].permute(1, 2, 0)[8:-8, 8:-8], theirs[8:-8, 8:-8], atol=2e-4)
    assert metrics.ssim(image, content) == pytest.approx(float(theirs.mean()), abs=0.02)
    assert metrics.ssim(content * 3 - 1, content) == metrics.ssim((content * 3 - 1).clamp(0, 1), content)
    assert metrics.ssim_published(content * 3 - 1, content) != metrics.ssim(content * 3 - 1, content)


def test_it_stops_at_the_loss(small: Callable, tmp_path: Path) -> None:
    whole = run(small("steps=12", "captures=[6]", "logger=csv"), tmp_path / "whole")
    threshold = whole.captures[0].loss_total * 1.0001
    for optimizer in ("adam", "lbfgs"):
        folder = tmp_path / optimizer
        record = run(small(f"optimizer={optimizer}", "steps=12", f"stop_at_loss={threshold}", "logger=csv"), folder)
        assert record.status == "finished" and record.stopped == "loss reached"
        assert record.captures[-1].loss_total <= threshold
        assert record.step == record.captures[-1].step < 12
        assert (folder / record.captures[-1].file).read_bytes() == (folder / "image.png").read_bytes()
        rows = _rows(folder)
        assert int(rows[-1]["step"]) == record.step and float(rows[-1]["loss/total"]) <= threshold
    assert run(small("steps=12", f"stop_at_loss={threshold}"), tmp_path / "adam2").step == 6


@pytest.mark.parametrize(
    "overrides",
    [
        ("canvas.space=normalized", "canvas.clamp=false", "optimizer.lr=1e30"),
        ("canvas.space=split", "optimizer.lr=1e37", "optimizer.rise=0"),
    ],
)
def test_a_loss_that_is_not_finite_keeps_the_last_good_picture(
    overrides: tuple[str, ...], small: Callable, tmp_path: Path
) -> None:
    config = small(*overrides, "captures=[1]", "steps=6")
    with pytest.raises(NonFiniteLoss, match="not finite at step 1; kept the picture of step 0"):
        run(config, tmp_path)
    from src.tracking import record as records

    record = records.read(tmp_path)
    assert record.status == "failed" and "not finite" in record.error
    assert math.isfinite(record.captures[-1].loss_total)
    from src.data.images import read_image

    assert np.asarray(read_image(tmp_path / "image.png")).std() > 5, "the picture is the photograph it started from"
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("space", ["split", "pixel", "normalized"])
def test_the_canvas_is_clamped_in_every_space(space: str, small: Callable) -> None:
    prepared = _prepared(small())
    canvas = Canvas(prepared.content * 3 - 1, prepared.objective.extractor, CanvasOptions(space=space))
    assert canvas.image().min() < -0.1 and canvas.image().max() > 1.1
    canvas.project()
    assert canvas.image().min() >= -1e-6 and canvas.image().max() <= 1 + 1e-6
    torch.testing.assert_close(canvas.image(), (prepared.content * 3 - 1).clamp(0, 1), rtol=0, atol=1e-6)
    free = Canvas(prepared.content * 3 - 1, prepared.objective.extractor, CanvasOptions(space=space, clamp=False))
    free.project()
    assert free.image().max() > 1.1


def test_a_split_image_is_its_start_plus_brightness_plus_coarse_colours(small: Callable) -> None:
    prepared = _prepared(small())
    start = prepared.content * 0.5 + 0.2
    canvas = Canvas(start, prepared.objective.extractor, CanvasOptions())
    height, width = start.shape[2:]
    sizes = [(1, 1, height + 2, width + 2), (1, 3, -(-height // 4), -(-width // 4))]
    assert [tuple(part.shape) for part in canvas.parts] == sizes
    torch.testing.assert_close(canvas.image(), start, rtol=0, atol=0)
    with torch.no_grad():
        canvas.parts[0].fill_(0.1)
        canvas.parts[1].fill_(0.02)
        canvas.parts[1][:, 0] = -0.05
    torch.testing.assert_close(canvas.image()[:, 1:], start[:, 1:] + 0.12)
    torch.testing.assert_close(canvas.image()[:, :1], start[:, :1] + 0.05)
    torch.testing.assert_close(canvas.normalized(), prepared.objective.extractor.normalize(canvas.image()))
    before = canvas.image()[0, 0, 4:9, 5:10].clone()
    with torch.no_grad():
        canvas.parts[0][0, 0, 7, 8] += 0.16  # a single value is spread over nine pixels
    spread = torch.tensor([[0, 0, 0, 0, 0], [0, 1, 2, 1, 0], [0, 2, 4, 2, 0], [0, 1, 2, 1, 0], [0, 0, 0, 0, 0]]) / 100
    torch.testing.assert_close(canvas.image()[0, 0, 4:9, 5:10] - before, spread, atol=1e-6, rtol=0)


def test_a_split_image_is_clamped_as_a_whole(small: Callable) -> None:
    prepared = _prepared(small())
    canvas = Canvas(prepared.content, prepared.objective.extractor, CanvasOptions())
    with torch.no_grad():
        for part in canvas.parts:
            part.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
    whole, parts = canvas.image(), [part.clone() for part in canvas.parts]
    assert whole.min() < -0.1 and whole.max() > 1.1
    canvas.project()
    torch.testing.assert_close(canvas.image(), whole.clamp(0, 1))
    assert all(torch.equal(*pair) for pair in zip(canvas.parts, parts, strict=True)), "what Adam remembers stays true"


def test_noise_can_lose_its_colours(small: Callable) -> None:
    assert [len(_prepared(small(f"init={init}")).canvas.parts) for init in ("noise", "style", "patchwork")] == [1, 1, 2]


def test_a_patchwork_is_laid_as_the_options_say() -> None:
    content, style = smooth_image(0, 40, 44), smooth_image(1, 30, 50)
    started = starting_image(Init("patchwork", hold=0.05, edges=3.0, blend=0.4), content, style, 5, None)
    expected = patchwork(content, style, 0.05, 3.0, 0.4, torch.Generator().manual_seed(5))
    torch.testing.assert_close(started, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["noise", "patchwork"])
def test_a_start_with_noise_in_it_is_seeded(name: str) -> None:
    content, style = torch.rand(1, 3, 40, 44), torch.rand(1, 3, 30, 50)
    first, again, other = (starting_image(Init(name), content, style, seed, None) for seed in (1, 1, 2))
    assert first.shape == content.shape and 0 <= first.min() < first.max() <= 1
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)


def test_a_picture_to_start_from_has_the_content_s_size() -> None:
    with pytest.raises(InputError, match="content's size"):
        starting_image(Init("style"), torch.rand(1, 3, 10, 12), torch.rand(1, 3, 9, 9), 0, torch.rand(1, 3, 9, 12))


def test_automatic_precision_is_what_the_hardware_has(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"flags": "fpu avx2", "model name": "a CPU"}
    monkeypatch.setattr("src.common.platform.cpu_entry", lambda keys: entries.get(keys[0], ""))
    assert run(small("precision=auto"), tmp_path / "without").precision == "32"
    entries["flags"] += " avx512_bf16"
    config = small("precision=auto", "steps=4")
    record = run(config, tmp_path / "with")
    assert record.precision == "bf16" and record.config["precision"] == "auto"
    entries["flags"] = "fpu"
    record.status = "interrupted"
    record.write(tmp_path / "with")
    assert run(config, tmp_path / "with").precision == "bf16", "what it was begun in it goes on in"


@pytest.mark.parametrize("precision", ["64", "bf16"])
def test_precisions_agree(precision: str, small: Callable, tmp_path: Path) -> None:
    reference = run(small(), tmp_path / "32").captures[-1]
    other = run(small(f"precision={precision}"), tmp_path / precision).captures[-1]
    assert other.loss_total == pytest.approx(reference.loss_total, rel=1e-4 if precision == "64" else 0.01)


def test_the_timetable_pauses_where_something_is_due() -> None:
    table = Timetable(steps=100, captures=(33, 100), log_every=25, checkpoint_every=40, chunk=30)
    pauses, step = [], 0
    while step < 100:
        step = table.next_pause(step)
        pauses.append(step)
    assert pauses == [25, 33, 40, 50, 75, 80, 100]
    assert [step for step in pauses if table.logs_at(step)] == [25, 50, 75, 100]
    assert [step for step in pauses if table.saves_at(step)] == [40, 80, 100]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["edge=356", "steps=300", "schedule=pyramid", "schedule.sizes=3"],
            [(178, 0, 100), (252, 100, 200), (356, 200, 300)],
        ),
        (["edge=100", "steps=9", "schedule=pyramid"], [(71, 0, 4), (100, 4, 9)]),
        (["edge=64", "steps=9", "schedule=pyramid"], [(64, 0, 9)]),
        (["edge=356", "steps=2", "schedule=pyramid"], [(252, 0, 1), (356, 1, 2)]),
        (["edge=356", "steps=10"], [(356, 0, 10)]),
        (["edge=256", "steps=10", "schedule=pyramid"], [(181, 0, 5), (256, 5, 10)]),
        (
            ["edge=256", "steps=10", "schedule=pyramid", "schedule.factor=2", "schedule.last=0.2"],
            [(128, 0, 8), (256, 8, 10)],
        ),
        (
            ["edge=256", "steps=3", "schedule=pyramid", "schedule.sizes=3", "schedule.last=0.01"],
            [(128, 0, 1), (181, 1, 2), (256, 2, 3)],
        ),
    ],
)
def test_stages_grow_to_the_edge_and_share_the_steps(
    overrides: list[str], expected: list[tuple[int, int, int]], small: Callable
) -> None:
    assert stages(small(*overrides)) == [Stage(*each) for each in expected]


def test_a_pyramid_counts_its_steps_through_and_ends_at_full_size(small: Callable, tmp_path: Path) -> None:
    sizes = ("schedule=pyramid", "schedule.sizes=3")
    config = small("edge=140", *sizes, "steps=9", "captures=[2,3,9]", "log_every=2", "logger=csv")
    record = run(config, tmp_path)
    assert [capture.step for capture in record.captures] == [2, 3, 9]
    seen = [read_image(tmp_path / capture.file).size for capture in record.captures]
    assert seen == [(70, 70), (70, 70), (140, 140)] and (record.width, record.height) == (140, 140)
    assert [row["step"] for row in _rows(tmp_path)] == ["0", "2", "3", "4", "6", "8", "9"]
    assert record.evaluations == 9
    assert record.it_per_s and record.mpx_it_per_s < record.it_per_s * 0.14**2, "the small sizes count as small"
    # the second size starts from the first one's picture, not from the content
    evaluated = [float(row["loss/style"]) for row in _rows(tmp_path)]
    assert evaluated[4] < evaluated[0]


def test_the_learning_rate_rises_and_falls_to_zero_at_the_end() -> None:
    groups: list[dict[str, Any]] = [{"lr": 1.0, "params": [torch.zeros(2, 5)]}]
    rates = []
    for step in range(10):
        set_rate(Optimizer(lr=0.1, rise=1, decay=0.4), groups, step, 10, 0)
        rates.append(groups[0]["lr"])
    assert rates == pytest.approx([0.05] + [0.1] * 6 + [0.075, 0.05, 0.025])
    set_rate(Optimizer(name="lbfgs", lr=1.0, decay=0.4), groups, 9, 10, 0)
    assert groups[0]["lr"] == 1.0, "a line search finds its own"
    set_rate(Optimizer(name="lbfgs", lr=1.0), groups, 3, 10, 3)
    assert groups[0]["lr"] == pytest.approx(10 * 0.01), "as far as ten values moving by 0.01, where a stage begins"
    set_rate(Optimizer(lr=0.11, rise=10, decay=0.0), groups, 52, 100, 50)
    assert groups[0]["lr"] == pytest.approx(0.03), "it rises in every stage"


def test_chunks_change_nothing_but_when_it_looks(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU does, several steps between two looks, ends in the same picture."""
    import src.training.loop

    one = run(small("steps=9", "log_every=4", "logger=csv"), tmp_path / "one")
    original = src.loop.Timetable
    monkeypatch.setattr(src.loop, "Timetable", lambda *args, chunk: original(*args, chunk=5))
    many = run(small("steps=9", "log_every=4", "logger=csv"), tmp_path / "many")
    assert (tmp_path / "one/image.png").read_bytes() == (tmp_path / "many/image.png").read_bytes()
    assert [capture.loss_total for capture in one.captures] == [capture.loss_total for capture in many.captures]
    columns = [[row["step"] for row in _rows(tmp_path / name)] for name in ("one", "many")]
    assert columns[0] == columns[1] == ["0", "3", "4", "6", "8", "9"]


def test_throughput_leaves_the_warm_up_out() -> None:
    throughput = metrics.Throughput()
    throughput.add(2, 10.0, 0.5)
    assert throughput.it_per_s == pytest.approx(0.2), "a run shorter than the warm-up counts all"
    assert throughput.mpx_it_per_s == pytest.approx(0.1)
    throughput.add(2, 10.0, 0.5)
    throughput.add(4, 0.5, 0.5)
    throughput.add(4, 1.5, 2.0)
    assert throughput.it_per_s == pytest.approx(4.0)
    assert throughput.mpx_it_per_s == pytest.approx(5.0), "each at its size"
    assert (throughput.evaluations, throughput.seconds) == (12, 22.0)


def test_style_image_of_another_size(small: Callable) -> None:
    """The style keeps its own aspect ratio; its target does not depend on the content's size."""
    prepared = _prepared(small("content=coffee"))
    assert prepared.content.shape == (1, 3, 32, 48)
    assert isinstance(prepared.objective, Objective)
    assert prepared.objective.style_targets["relu1_1"].positions == 48 * 36
    assert Taps.of(small("layers=c")).style == {f"relu{block}_1": pytest.approx(1 / 3) for block in (1, 2, 3)}
    assert Taps.of(small("layers=c", "loss=published")).style == {f"relu{block}_1": 1.0 for block in (1, 2, 3)}


def test_lbfgs_evaluates_no_image_twice(small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch begins each step with what the line search before it ended with."""
    seen: list[torch.Tensor] = []
    forward = Objective.forward

    def watched(self: Objective, normalized: torch.Tensor, full: bool = False) -> object:
        if torch.is_grad_enabled():
            seen.append(normalized.detach().clone())
        return forward(self, normalized, full)

    monkeypatch.setattr(Objective, "forward", watched)
    record = run(small("optimizer=lbfgs", "loss=moments", "init=content", "steps=8"), tmp_path)
    assert len(seen) == record.evaluations >= 9
    assert not any(torch.equal(first, second) for first, second in itertools.pairwise(seen))


def test_a_larger_stage_keeps_the_contents_detail(small: Callable) -> None:
    config = small("init=content", "schedule=pyramid", "edge=128")
    record = new_record(config)
    preparation = Preparation(config, record, find_files(config), find_device(config.trainer))
    before = preparation.at(64, None).canvas.image()
    after = preparation.at(128, before + 0.1)
    torch.testing.assert_close(after.canvas.image(), after.content + 0.1, rtol=0, atol=1e-4)


def test_a_line_search_turns_back_from_what_is_not_finite(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third evaluation, the first trial of the second step, has no finite loss."""
    forward, evaluations = Objective.forward, itertools.count(1)

    def broken(self: Objective, normalized: torch.Tensor, full: bool = False) -> object:
        terms = forward(self, normalized, full)
        if torch.is_grad_enabled() and next(evaluations) == 3:
            return dataclasses.replace(terms, total=terms.total * math.nan)
        return terms

    monkeypatch.setattr(Objective, "forward", broken)
    options = ("optimizer=lbfgs", "loss=moments", "init=content", "steps=6", "log_every=1", "logger=csv")
    record = run(small(*options), tmp_path)
    losses = [float(row["loss/total"]) for row in _rows(tmp_path)]
    assert record.status == "finished" and record.step == 6 and len(losses) == 7
    assert all(after < before for before, after in itertools.pairwise(losses))


def test_an_average_of_images_is_free_of_its_empty_start() -> None:
    images = torch.arange(5.0).reshape(5, 1, 1, 1, 1).expand(5, 1, 3, 2, 2)
    average = Average(0.6, images[0])
    for image in images:
        average.add(image)
    weights = torch.tensor([0.6**age for age in (4, 3, 2, 1, 0)])
    expected = float((weights * torch.arange(5.0)).sum() / weights.sum())
    torch.testing.assert_close(average.image(), torch.full((1, 3, 2, 2), expected))


@pytest.mark.parametrize("space", ["split", "pixel"])
def test_the_picture_may_be_the_average_of_a_stage(space: str, small: Callable, tmp_path: Path) -> None:
    """Of two steps at full size after two at another: the mean of what each would have left as its picture."""
    options = (f"canvas.space={space}", "canvas.clamp=false", "loss=moments", "init=content", "edge=90", "steps=4")
    pyramid = ("schedule=pyramid", "optimizer.decay=0", "captures=[3,4]", "precision=64")
    config = small(*options, *pyramid, "schedule.average=0.5")
    record = run(config, tmp_path)
    prepared = _prepared(config)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)["state_dict"]
    _load(prepared.canvas, tmp_path)
    last = prepared.canvas.image()
    picture = state["canvas.average.sum"] / state["canvas.average.weight"]
    assert state["canvas.average.weight"] == pytest.approx(0.75)
    assert not torch.allclose(picture, last, atol=1e-4)
    normalized = prepared.objective.extractor.normalize(picture)
    assert record.captures[-1].loss_total == pytest.approx(float(prepared.objective(normalized, full=True).total))
    assert record.ssim == pytest.approx(metrics.ssim(picture, prepared.content))


def test_the_moments_of_a_size_go_on_at_the_next() -> None:
    """A gradient that is the same everywhere, of a mean over positions: enlarged, its moments are those it would have
    had at the larger size from the start.
    """

    def moments(size: int, steps: int) -> tuple[torch.optim.Optimizer, torch.nn.Parameter]:
        image = torch.nn.Parameter(torch.zeros(1, 3, size, size))
        optimizer = build_optimizer(Optimizer(), [image])
        for _ in range(steps):
            image.grad = torch.full_like(image, 3.0 / size**2)
            optimizer.step()
        return optimizer, image

    small, _ = moments(8, 3)
    expected, whole = moments(12, 3)
    carried, image = moments(12, 0)
    resize_moments(carried, small.state_dict())
    for name in ("exp_avg", "exp_avg_sq", "step"):
        torch.testing.assert_close(carried.state[image][name], expected.state[whole][name])


def test_a_run_carries_its_moments_where_asked_for(small: Callable, tmp_path: Path) -> None:
    options = ("edge=90", "schedule=pyramid", "steps=4", "loss=moments", "init=content")
    anew = run(small(*options), tmp_path / "anew")
    carried = run(small(*options, "schedule.carry=true"), tmp_path / "carried")
    assert anew.captures[-1].loss_total != carried.captures[-1].loss_total
    state = torch.load(tmp_path / "carried" / CHECKPOINT, weights_only=True)["optimizer_states"][0]["state"]
    assert float(state[0]["step"]) == 4
