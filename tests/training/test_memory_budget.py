"""What is kept follows what is free, and memory that runs out all the same is met with less."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from src.batch import module as batch_module
from src.batch.run import run_together
from src.common.errors import InputError
from src.encoders.recomputation import KEPT, Recomputation
from src.encoders.registry import architecture
from src.encoders.vgg import Extractor
from src.run import run
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.training import economy
from src.training.economy import Economy, ladder, out_of_memory, sparingly
from src.training.footprint import Footprint

CPU = torch.device("cpu")
GIB = 2**30
LARGE = Footprint(
    size=(2160, 3840),
    style=(2160, 3840),
    network=architecture("vgg19"),
    pool="blur",
    style_taps=tuple(f"relu{block}_1" for block in range(1, 6)),
    content_tap="relu3_1",
    patches=True,
    palette=True,
    split=True,
    average=False,
    optimizer="adam",
    history=20,
    value=4,
    feature=4,
    tiled_filters=True,
    patchwork=False,
)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Pretend that so many GiB are free."""
    return lambda gib: monkeypatch.setattr(economy, "free_bytes", lambda device: gib * GIB)


def test_the_quickest_way_that_fits_is_taken(free: Callable) -> None:
    needs = [economy.HEAP * LARGE.need(way) / GIB for way in ladder(5)]
    for gib in (100.0, 40.0, 24.0, 16.0):
        free(gib)
        chosen = Economy(LARGE, "auto", CPU).recomputed
        fits = [need <= gib * economy.SHARE for need in needs]
        assert chosen == (ladder(5)[fits.index(True)] if any(fits) else ladder(5)[-1])
    free(100)
    assert Economy(LARGE, "auto", CPU).recomputed == KEPT
    assert Economy(LARGE, "tiled", CPU).recomputed == Recomputation(1, True)
    assert Economy(LARGE, "checkpointed", CPU).recomputed == Recomputation(1, False)
    free(1)
    assert Economy(LARGE, "whole", CPU).recomputed == KEPT, "as asked"
    assert Economy(LARGE, "tiled", CPU).recomputed == Recomputation(5, True), "the least that can be"


def test_one_line_before_the_start(free: Callable, caplog: pytest.LogCaptureFixture) -> None:
    free(16)
    with caplog.at_level(logging.INFO):
        made = Economy(LARGE, "auto", CPU)
        made.announce()
    assert caplog.messages == [
        f"memory: about {made.estimate / GIB:.1f} GiB at the peak, {(made.held + 16 * GIB) / GIB:.1f} GiB are free: "
        f"{made.recomputed.described()}"
    ]
    caplog.clear()
    free(1)
    Economy(LARGE, "auto", CPU).announce()
    [warning] = caplog.messages
    edge = int(warning.split("edge=")[1].split(" ")[0])
    needed = [economy.HEAP * LARGE.scaled(each / 3840).need(Recomputation(5, True)) for each in (edge, edge / 0.9)]
    assert needed[0] <= GIB < needed[1]


def test_every_step_down_needs_less(free: Callable) -> None:
    free(100)
    made = Economy(LARGE, "auto", CPU)
    needs = [LARGE.evaluation(made.recomputed)]
    with pytest.raises(InputError, match="memory ran out with the least kept"):
        while made.step_down(MemoryError()):
            needs.append(LARGE.evaluation(made.recomputed))
    assert made.recomputed.banded and len(needs) > 2 and needs[-1] < 0.5 * needs[0]
    assert needs == sorted(needs, reverse=True)
    assert made.noted()["stepped_down"][0] == "whole, every layer kept"
    again = Economy(LARGE, "auto", CPU, made.noted())
    assert again.recomputed == made.recomputed and again.stepped_down == made.stepped_down, "a resumed run keeps to it"
    assert Economy(LARGE, "whole", CPU, made.noted()).recomputed == KEPT, "unless it is told otherwise"


def test_what_says_that_memory_ran_out() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(failed.value), "what the allocator of this machine says"
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory.")) and out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shapes do not match")) and not out_of_memory(ValueError("not enough memory"))


def test_other_errors_pass() -> None:
    def fail() -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        sparingly(fail, lambda error: False)


def _be_scarce(monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    """Let memory run out wherever the first block is kept; or for the very first that is computed, and no other."""
    block, seen = Extractor.block, 0

    def scarce(self: Extractor, number: int, values: Tensor, taps: object, last: bool) -> object:
        nonlocal seen
        seen += 1
        # a block is computed for its gradient from a leaf when it is recomputed, from the canvas when it is kept
        kept = number == 1 and values.grad_fn is not None
        if (at_once and seen == 1) or (not at_once and kept):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 6442450944 bytes.")
        return block(self, number, values, taps, last)  # type: ignore[arg-type]

    monkeypatch.setattr(Extractor, "block", scarce)


@pytest.mark.parametrize("when", ["at the start", "on the way"])
def test_a_run_that_runs_out_of_memory_goes_on_with_less(
    when: str, monkeypatch: pytest.MonkeyPatch, small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run(small("init=content"), tmp_path / "enough")
    assert expected.memory["48"]["strategy"] == "whole" and expected.memory["48"]["stepped_down"] == []
    _be_scarce(monkeypatch, at_once=when == "at the start")
    with caplog.at_level(logging.WARNING):
        record = run(small("init=content"), tmp_path / "scarce")
    assert record.status == "finished"
    assert [line for line in caplog.messages if line.startswith("out of memory")] == [
        f"out of memory with whole, every layer kept; going on with {Recomputation(1).described()}"
    ]
    noted = records.read(tmp_path / "scarce").memory["48"]
    assert (noted["strategy"], noted["blocks"]) == ("checkpointed", 1) and len(noted["stepped_down"]) == 1
    assert record.captures[-1].loss_total == pytest.approx(expected.captures[-1].loss_total, rel=1e-4)


@pytest.mark.parametrize("memory", ["tiled", "auto"])
def test_a_batch_keeps_what_each_of_its_pairs_would_keep_alone(
    memory: str, monkeypatch: pytest.MonkeyPatch, small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configs = [small("init=content", f"style={style}", f"trainer.memory={memory}") for style in ("dots", "swell")]
    if memory == "auto":  # memory runs out for a single pair, once
        descend, failures = batch_module.descend, [MemoryError()]

        def scarce(*arguments: object) -> object:
            if failures:
                raise failures.pop()
            return descend(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(batch_module, "descend", scarce)
    with caplog.at_level(logging.WARNING):
        together = run_together([(config, tmp_path / str(number)) for number, config in enumerate(configs)])
    for number, config in enumerate(configs):
        alone = run(config, tmp_path / f"alone{number}")
        batched = together[number]
        assert isinstance(batched, RunRecord) and batched.status == "finished" and batched.batch == 2
        losses = [each.captures[-1].loss_total for each in (batched, alone)]
        if memory == "tiled":
            assert batched.memory["48"]["strategy"] == alone.memory["48"]["strategy"] == "tiled"
            assert losses[0] == losses[1]
        else:
            assert batched.memory["48"]["strategy"] == "checkpointed" and alone.memory["48"]["strategy"] == "whole"
            assert batched.memory["48"]["stepped_down"] == ["whole, every layer kept"]
            assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len([line for line in caplog.messages if line.startswith("out of memory")]) == 2 * (memory == "auto")


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_every_strategy_makes_the_same_picture(optimizer: str, small: Callable, tmp_path: Path) -> None:
    losses = {}
    for memory in ("whole", "checkpointed", "tiled"):
        options = ("init=content", f"optimizer={optimizer}", f"trainer.memory={memory}")
        record = run(small(*options), tmp_path / memory)
        assert record.memory["48"]["strategy"] == memory
        losses[memory] = record.captures[-1].loss_total
    assert losses["checkpointed"] == pytest.approx(losses["whole"], rel=1e-4)
    assert losses["tiled"] == pytest.approx(losses["whole"], rel=1e-4)


def test_the_need_follows_the_size_and_what_is_asked_for() -> None:
    def need(way: Recomputation = KEPT, **changes: object) -> float:
        return replace(LARGE, **changes).need(way)  # type: ignore[arg-type]

    def grows(pixels: float) -> float:
        return LARGE.scaled(pixels**0.5).need(KEPT)

    assert grows(3) - grows(2) == pytest.approx(grows(2) - grows(1), rel=0.01), "with the pixels"
    pairs = 8_294_400 * (1 + 3 / 16) * 4 * 2
    assert need(optimizer="lbfgs", history=30) - need(optimizer="lbfgs", history=20) == pytest.approx(10 * pairs)
    assert (
        need(feature=2) < need() < need(split=False) and need(palette=False) < need() and need(patches=False) < need()
    )
    assert need(average=True) - need() == pytest.approx(9 * 8_294_400 * 4)
    first = 2 * 64 * 8_294_400 * 4  # two layers of the first block, kept or not
    assert need() - need(Recomputation(2, True)) > first
