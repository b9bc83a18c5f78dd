"""Whole runs: losses fall, values belong to the picture they are reported for, and a run stops when it should."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from src.common.errors import NonFiniteLoss
from src.config.schedule import Stage, Timetable
from src.data.images import read_image, to_tensor
from src.evaluation.ssim import ssim
from src.ops.patches import StylePatches
from src.run import run, run_batch
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.training import loop
from src.training.checkpoints import CHECKPOINT
from src.training.module import StyleTransferModule
from src.training.pair import Pair
from src.training.throughput import Throughput
from src.transfer.image_models.pixels import PixelImage
from tests.support import ROOT
from tests.support.prepare import load_image, prepare
from tests.support.runs import metric_rows, run_until


@pytest.mark.parametrize(("optimizer", "init"), [("adam", "content"), ("lbfgs", "noise")])
@pytest.mark.parametrize("loss", ["patches", "moments", "normalized", "equations", "published"])
def test_five_steps_lower_the_loss(optimizer: str, loss: str, init: str, small: Callable, tmp_path: Path) -> None:
    record = run(small(f"optimizer={optimizer}", f"loss={loss}", "steps=5", f"init={init}"), tmp_path)
    last = record.captures[-1].losses["total"]
    assert last < 0.98 * record.initial_loss
    assert record.evaluations >= 5 and record.loss_decay == record.initial_loss / last


@pytest.mark.parametrize("init", ["content", "noise", "style", "file"])
def test_the_loss_falls_from_every_start(init: str, small: Callable, tmp_path: Path) -> None:
    path = ROOT / "src/assets/styles/dots.jpg"
    more = [f"init.path={path}"] if init == "file" else []
    record = run(small(f"init={init}", "captures=[0]", "steps=5", *more), tmp_path)
    first, last = record.captures
    assert first.step == 0 and first.losses["total"] == pytest.approx(record.initial_loss)
    assert last.losses["total"] < record.initial_loss


@pytest.mark.parametrize("layers", "abcde")
def test_the_loss_falls_with_every_layer_set(layers: str, small: Callable, tmp_path: Path) -> None:
    record = run(small(f"layers={layers}", "layers.content=relu1_1", "edge=32", "steps=5"), tmp_path)
    losses = record.captures[-1].losses
    assert losses["total"] < record.initial_loss
    parts = {name for name in losses if name.startswith("style/")}
    assert parts == {f"style/relu{block}_1" for block in range(1, "abcde".index(layers) + 2)}


def test_a_term_of_weight_zero_is_reported_but_not_optimised(small: Callable, tmp_path: Path) -> None:
    content_only = run(small("loss=patches", "loss.beta=0", "init=noise"), tmp_path / "content").captures[-1].losses
    options = ("loss=patches", "loss.alpha=0", "loss.beta=20", "init=noise", "loss.palette=0")
    style_only = run(small(*options), tmp_path / "style").captures[-1].losses
    content = content_only["content"] + 2 * content_only["self_similarity"]
    assert content_only["total"] == pytest.approx(content) and content_only["style"] > 0
    style = style_only["style"] + style_only["patches"]
    assert style_only["total"] == pytest.approx(20 * style) and style_only["content"] > 0


def test_total_variation_makes_the_image_smoother(small: Callable, tmp_path: Path) -> None:
    def roughness(folder: Path) -> float:
        picture = read_image(folder / "image.png")
        image = to_tensor(picture, picture.size)
        return (image[..., 1:, :] - image[..., :-1, :]).square().mean().item()

    run(small("init=noise", "steps=20", "optimizer.lr=0.05"), tmp_path / "without")
    run(small("init=noise", "steps=20", "optimizer.lr=0.05", "loss.tv=100"), tmp_path / "with")
    assert roughness(tmp_path / "with") < 0.9 * roughness(tmp_path / "without")


def test_a_captures_losses_are_those_of_its_picture(small: Callable, tmp_path: Path) -> None:
    """They are computed again from the checkpoint's image: the loss at step n is of the image after n updates."""
    config = small("loss=patches", "steps=6", "captures=[3,6]", "loss.tv=0.5", "loss.rematch=4")
    record = run(config, tmp_path)
    prepared = prepare(config)
    load_image(prepared.image, tmp_path)
    with torch.no_grad():
        (expected,) = prepared.objective(prepared.image.render(), full=True).metrics()
    last = record.captures[-1]
    assert last.step == 6
    assert {f"loss/{name}": value for name, value in last.losses.items()} == pytest.approx(expected, rel=1e-6)
    style = last.losses["style"] + last.losses["patches"] + config.loss.palette * last.losses["palette"]
    content = last.losses["content"] + config.loss.self_similarity * last.losses["self_similarity"]
    parts = config.loss.alpha * content + config.loss.beta * style + 0.5 * last.losses["tv"]
    assert last.losses["total"] == pytest.approx(parts, rel=1e-5)
    assert last.ssim == pytest.approx(ssim(prepared.image.image(), prepared.inputs.content), abs=1e-6)
    assert last.file == "captures/step_000006.png"
    assert (tmp_path / last.file).read_bytes() == (tmp_path / "image.png").read_bytes()


def test_a_captures_losses_do_not_depend_on_earlier_searches(small: Callable) -> None:
    """`measure` searches patches for the picture itself, and puts back what the optimisation goes on with."""
    config = small()
    prepared = prepare(config)
    pair, objective = prepared.run.pair, prepared.objective
    module = StyleTransferModule(prepared.image, [pair], config.optimizer, Timetable(6, (6,), 2, 3), Stage(48, 0, 6))
    expected = module.measure(0)
    assert objective.search_state() == {}, "the first evaluation of the optimisation makes its own search"
    found = prepared.image.image()
    objective(found)
    fresh = objective.search_state()["patches"]["relu2_1"]
    objective(found.flip(2, 3))
    stale = {"patches": {"relu2_1": fresh.flip(1)}}
    objective.load_search_state(stale)
    (with_stale,) = objective(found).metrics()
    assert with_stale["loss/patches"] > expected["loss/patches"]
    assert module.measure(0) == expected
    assert torch.equal(objective.search_state()["patches"]["relu2_1"], fresh.flip(1))
    assert objective(found).metrics()[0] == with_stale


def test_patches_are_searched_again_every_rematch_steps(small: Callable, tmp_path: Path) -> None:
    options = ("loss.rematch=4", "optimizer.decay=0", "optimizer.lr=0.1", "captures=[1.0]")
    run(small("steps=4", *options), tmp_path / "four")
    run(small("steps=7", *options), tmp_path / "seven")
    prepared = prepare(small(*options))
    objective = prepared.objective
    with torch.no_grad():
        objective(prepared.image.render())
        first = objective.search_state()["patches"]["relu2_1"]
        objective.load_search_state()
        load_image(prepared.image, tmp_path / "four")
        objective(prepared.image.render())
        after_four = objective.search_state()["patches"]["relu2_1"]
    found = {
        name: torch.load(tmp_path / name / CHECKPOINT, weights_only=True)["search"]["patches"]["relu2_1"]
        for name in ("four", "seven")
    }
    assert torch.equal(found["four"], first), "the search of step 4 is made by the step that follows"
    assert torch.equal(found["seven"], after_four) and not torch.equal(after_four, first)


def test_a_capture_of_the_start_changes_no_picture(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[int] = []
    nearest = StylePatches.nearest
    monkeypatch.setattr(StylePatches, "nearest", lambda *given: (searches.append(1), nearest(*given))[1])
    run(small("steps=1", "captures=[0]"), tmp_path / "captured")
    captured = len(searches)
    run(small("steps=1", "captures=[1.0]"), tmp_path / "not")
    assert (captured, len(searches) - captured) == (3, 2), "one search for each capture and one for the optimisation"
    images = [(tmp_path / each / "image.png").read_bytes() for each in ("captured", "not")]
    assert images[0] == images[1]


def test_a_run_stops_at_the_loss_asked_for(small: Callable, tmp_path: Path) -> None:
    options = ("steps=12", "loss=moments", "logger=csv")
    threshold = run(small(*options, "captures=[6]"), tmp_path / "whole").captures[0].losses["total"] * 1.0001
    for optimizer in ("adam", "lbfgs"):
        folder = tmp_path / optimizer
        record = run(small(*options, "captures=[6]", f"optimizer={optimizer}", f"stop_at_loss={threshold}"), folder)
        last = record.captures[-1]
        assert record.status == "finished" and record.stopped == "loss reached"
        assert last.losses["total"] <= threshold
        assert record.step == last.step < 12
        assert (folder / last.file).read_bytes() == (folder / "image.png").read_bytes()
        row = metric_rows(folder)[-1]
        assert int(row["step"]) == record.step and float(row["loss/total"]) <= threshold
        assert float(row["patch_distance"]) == record.patch_distance, "judged after a capture of the same step as well"
        if optimizer == "adam":
            assert record.step == 6


@pytest.fixture
def exploding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take steps that no option permits: the image overflows at the first update."""

    def far(options: object, groups: list[dict[str, float]], *rest: object) -> None:
        for group in groups:
            group["lr"] = 1e37

    monkeypatch.setattr("src.training.module.set_learning_rate", far)


@pytest.mark.usefixtures("exploding")
@pytest.mark.parametrize("space", ["normalized", "laplacian"])
def test_a_non_finite_loss_ends_the_run_with_the_last_finite_picture(
    space: str, small: Callable, tmp_path: Path
) -> None:
    clamp = "true" if space == "laplacian" else "false"
    config = small(f"canvas.space={space}", f"canvas.clamp={clamp}", "captures=[1]", "steps=6")
    with pytest.raises(NonFiniteLoss, match="not finite at step 1; the picture of step 0 is kept"):
        run(config, tmp_path)
    record = records.read(tmp_path)
    assert record and record.status == "failed" and record.error and "not finite" in record.error
    assert math.isfinite(record.captures[-1].losses["total"])
    assert np.asarray(read_image(tmp_path / "image.png")).std() > 5, "the picture is the start, not a blank"
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.usefixtures("exploding")
def test_a_pyramid_that_explodes_early_leaves_a_picture_of_the_results_size(small: Callable, tmp_path: Path) -> None:
    options = ("edge=96", "schedule=pyramid")
    with pytest.raises(NonFiniteLoss, match="not finite at step 1"):
        run(small(*options), tmp_path)
    record = records.read(tmp_path)
    assert record and read_image(tmp_path / "image.png").size == (record.width, record.height) == (96, 96)
    assert read_image(tmp_path / record.captures[-1].file).size == (68, 68), "captures have their stage's size"


def test_automatic_precision_is_bf16_where_the_hardware_has_it(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"flags": "fpu avx2", "model name": "a CPU"}
    monkeypatch.setattr("src.common.platform.cpu_entry", lambda keys: entries.get(keys[0], ""))
    assert run(small("precision=auto"), tmp_path / "without").precision == "32"
    entries["flags"] += " avx512_bf16"
    config = small("precision=auto", "steps=4")
    record = run(config, tmp_path / "with")
    assert record.precision == "bf16" and record.options.precision == "auto"
    entries["flags"] = "fpu"
    record.status = "interrupted"
    record.write(tmp_path / "with")
    assert run(config, tmp_path / "with").precision == "bf16", "a resumed run keeps its precision"


def test_a_run_that_resumes_with_others_computes_in_its_own_precision(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"flags": "fpu avx2", "model name": "a CPU"}
    monkeypatch.setattr("src.common.platform.cpu_entry", lambda keys: entries.get(keys[0], ""))
    config = small("precision=auto")
    alone = run(config, tmp_path / "alone")
    run_until(4, config, tmp_path / "resumed")
    entries["flags"] += " avx512_bf16"
    jobs = [(config, tmp_path / "new"), (config, tmp_path / "resumed")]
    new, resumed = run_batch(jobs)
    assert isinstance(new, RunRecord) and isinstance(resumed, RunRecord)
    assert (new.precision, resumed.precision) == ("bf16", "32")
    assert resumed.captures[-1].losses == alone.captures[-1].losses != new.captures[-1].losses


@pytest.mark.parametrize("precision", ["64", "bf16"])
def test_precisions_agree(precision: str, small: Callable, tmp_path: Path) -> None:
    exact = "loss=normalized"  # searches may break ties otherwise
    reference = run(small(exact), tmp_path / "32").captures[-1].losses["total"]
    other = run(small(exact, f"precision={precision}"), tmp_path / precision).captures[-1].losses["total"]
    assert other == pytest.approx(reference, rel=1e-4 if precision == "64" else 0.01)


def test_a_pyramid_counts_its_steps_through_and_ends_at_full_size(small: Callable, tmp_path: Path) -> None:
    sizes = ("schedule=pyramid", "schedule.sizes=3", "schedule.last=null")
    config = small("edge=140", *sizes, "steps=9", "captures=[2,3,9]", "log_every=2", "logger=csv")
    record = run(config, tmp_path)
    assert [capture.step for capture in record.captures] == [2, 3, 9]
    seen = [read_image(tmp_path / capture.file).size for capture in record.captures]
    assert seen == [(70, 70), (70, 70), (140, 140)] and (record.width, record.height) == (140, 140)
    rows = metric_rows(tmp_path)
    assert [row["step"] for row in rows] == ["0", "2", "3", "4", "6", "8", "9"]
    assert record.evaluations == 9
    assert record.it_per_s and record.mpx_it_per_s < record.it_per_s * 0.14**2, "each step counts at its own size"
    assert float(rows[4]["loss/style"]) < float(rows[0]["loss/style"]), "a stage starts from the picture before it"


def test_the_next_size_starts_on_the_runs_device() -> None:
    """Lightning leaves a module on the CPU at the end of a stage; the meta device stands for a GPU."""
    mean, std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    image = PixelImage(torch.rand(1, 3, 8, 8), clamp=True, decay=0.0, mean=mean, std=std)
    pair = Pair()
    module = SimpleNamespace(image=image, active={0: pair}, compiler=None)
    pictures = loop._pictures(module, torch.device("meta"), warm=False)  # type: ignore[arg-type]
    assert pictures[pair].device.type == "meta" and pictures[pair].shape == (1, 3, 8, 8)


def test_steps_between_looks_at_the_loss_change_no_result(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU takes several steps between two looks; the picture is the same."""
    config = small("steps=9", "log_every=4", "logger=csv")
    one = run(config, tmp_path / "one")
    timetable_of = loop.timetable_of
    monkeypatch.setattr(loop, "timetable_of", lambda *given: dataclasses.replace(timetable_of(*given), chunk=5))
    many = run(config, tmp_path / "many")
    assert (tmp_path / "one/image.png").read_bytes() == (tmp_path / "many/image.png").read_bytes()
    assert [capture.losses for capture in one.captures] == [capture.losses for capture in many.captures]
    steps = [[row["step"] for row in metric_rows(tmp_path / name)] for name in ("one", "many")]
    assert steps[0] == steps[1] == ["0", "3", "4", "6", "8", "9"]


def test_throughput_leaves_the_warm_up_out() -> None:
    throughput = Throughput()
    throughput.add(2, 10.0, 0.5)
    assert throughput.it_per_s == pytest.approx(0.2), "a run shorter than the warm-up counts all"
    assert throughput.mpx_it_per_s == pytest.approx(0.1)
    throughput.add(2, 10.0, 0.5)
    throughput.add(4, 0.5, 0.5)
    throughput.add(4, 1.5, 2.0)
    assert throughput.it_per_s == pytest.approx(4.0)
    assert throughput.mpx_it_per_s == pytest.approx(5.0), "each step counts at its own size"
    assert (throughput.evaluations, throughput.seconds) == (12, 22.0)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_throughput_leaves_logging_out(
    optimizer: str, small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logging takes 1000 s at every step, by a clock that is set forward."""
    clock, skipped = time.perf_counter, [0.0]

    def slow(*_: Any, **__: Any) -> None:
        skipped[0] += 1000

    monkeypatch.setattr(Pair, "log_point", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + skipped[0])
    record = run(small(f"optimizer={optimizer}", "steps=3", "log_every=1", "captures=[]"), tmp_path)
    assert record.it_per_s > 0.05 and record.seconds > 2000


@pytest.mark.parametrize("space", ["laplacian", "pixel"])
def test_the_picture_may_be_the_average_of_a_stage(space: str, small: Callable, tmp_path: Path) -> None:
    """Two steps at full size follow two at another: the picture is the mean of the last two images."""
    options = (f"canvas.space={space}", "canvas.clamp=false", "loss=moments", "init=content", "edge=90", "steps=4")
    pyramid = ("schedule=pyramid", "optimizer.decay=0", "captures=[3,4]", "precision=64")
    config = small(*options, *pyramid, "schedule.average=0.5")
    record = run(config, tmp_path)
    prepared = prepare(config)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)["state_dict"]
    load_image(prepared.image, tmp_path)
    last = prepared.image.image()
    picture = state["image.average.sum"] / state["image.average.weight"]
    assert float(state["image.average.weight"]) == pytest.approx(0.75)
    assert not torch.allclose(picture, last, atol=1e-4)
    expected = prepared.objective(picture, full=True).total
    assert record.captures[-1].losses["total"] == pytest.approx(float(expected))
    assert record.ssim == pytest.approx(ssim(picture, prepared.inputs.content))
