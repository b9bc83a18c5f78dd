"""Activation checkpointing follows the free memory, and a run that runs out of memory continues with less."""

import logging
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from src.common.errors import InputError
from src.config.schema import Canvas, Loss, Optimizer, RunConfig, Schedule
from src.encoders.checkpointing import KEEP_ALL, Checkpointing
from src.encoders.registry import VGGSpec, encoder_spec
from src.encoders.vgg import VGG
from src.run import run, run_batch
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.training import memory
from src.training.memory import (
    SHARE,
    MemoryBudget,
    MemoryEstimate,
    free_bytes,
    out_of_memory,
    peak_mib,
    retry_smaller,
    strategies,
)
from src.training.module import StyleTransferModule

CPU = torch.device("cpu")
GIB = 2**30
HEIGHT, WIDTH = 2160, 3840
PIXELS = HEIGHT * WIDTH
WHOLE = "whole (all activations kept)"
MEMINFO, STATUS, CGROUP, OWN_GROUP = "/proc/meminfo", "/proc/self/status", "/sys/fs/cgroup", "/proc/self/cgroup"


def _vgg19() -> VGG:
    spec = encoder_spec("vgg19")
    assert isinstance(spec, VGGSpec)
    return VGG(spec, [f"relu{block}_1" for block in range(1, 6)], "blur")


@pytest.fixture(scope="module")
def large() -> MemoryEstimate:
    """Return the estimate of a 4K picture with VGG-19 and the default options."""
    return MemoryEstimate(RunConfig(), _vgg19(), (HEIGHT, WIDTH), HEIGHT * WIDTH)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the free memory, GiB."""
    return lambda gib: monkeypatch.setattr(memory, "free_bytes", lambda device: gib * GIB)


def _scaled(estimate: MemoryEstimate, factor: float) -> MemoryEstimate:
    return replace(
        estimate,
        size=(int(HEIGHT * factor), int(WIDTH * factor)),
        style_pixels=int(HEIGHT * factor) * int(WIDTH * factor),
    )


def test_the_fastest_strategy_that_fits_is_chosen(free: Callable, large: MemoryEstimate) -> None:
    peaks = [large.peak(each) / GIB for each in strategies(5)]
    for gib in (100.0, 40.0, 24.0, 16.0):
        free(gib)
        chosen = MemoryBudget(large, "auto", CPU).checkpointing
        fits = [peak <= gib * SHARE for peak in peaks]
        assert chosen == (strategies(5)[fits.index(True)] if any(fits) else strategies(5)[-1])
    free(100)
    assert MemoryBudget(large, "auto", CPU).checkpointing == KEEP_ALL
    assert MemoryBudget(large, "tiled", CPU).checkpointing == Checkpointing(1, True)
    assert MemoryBudget(large, "checkpointed", CPU).checkpointing == Checkpointing(1, False)
    free(1)
    assert MemoryBudget(large, "whole", CPU).checkpointing == KEEP_ALL, "an explicit choice is kept"
    assert MemoryBudget(large, "tiled", CPU).checkpointing == Checkpointing(5, True), "the smallest there is"


def test_the_budget_is_announced_in_one_line(
    free: Callable, large: MemoryEstimate, caplog: pytest.LogCaptureFixture
) -> None:
    free(16)
    with caplog.at_level(logging.INFO):
        budget = MemoryBudget(large, "auto", CPU)
        budget.announce()
    told = f"{budget.expected / GIB:.1f} GiB expected, {(budget.held + 16 * GIB) / GIB:.1f} GiB free"
    assert caplog.messages[0] == f"memory: {told}: {budget.checkpointing.describe()}"
    caplog.clear()
    free(1)
    MemoryBudget(large, "auto", CPU).announce()
    [warning] = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    edge = int(warning.split("edge=")[1])
    peaks = [_scaled(large, each / WIDTH).peak(Checkpointing(5, True)) for each in (edge, edge / 0.9)]
    assert peaks[0] <= GIB < peaks[1]


def test_every_step_down_needs_less_memory(free: Callable, large: MemoryEstimate) -> None:
    free(100)
    budget = MemoryBudget(large, "auto", CPU)
    needs = [large.evaluation(budget.checkpointing)]
    with pytest.raises(InputError, match=r"out of memory even with trainer\.memory=tiled"):
        while budget.step_down(MemoryError()):
            needs.append(large.evaluation(budget.checkpointing))
    assert budget.checkpointing.banded and len(needs) > 2 and needs[-1] < 0.5 * needs[0]
    assert needs == sorted(needs, reverse=True)
    assert budget.summary()["stepped_down"][0] == WHOLE
    again = MemoryBudget(large, "auto", CPU, budget.summary())
    assert again.checkpointing == budget.checkpointing, "a resumed run keeps its strategy"
    assert again.stepped_down == budget.stepped_down
    assert MemoryBudget(large, "whole", CPU, budget.summary()).checkpointing == KEEP_ALL, "unless another is asked for"


def test_out_of_memory_errors_are_recognised() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(failed.value), "the message of this machine's allocator"
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory.")) and out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB)."))
    assert not out_of_memory(RuntimeError("shapes do not match")) and not out_of_memory(ValueError("not enough memory"))


def test_an_attempt_is_repeated_only_where_less_memory_helps() -> None:
    failures: list[Exception] = [MemoryError(), MemoryError()]

    def attempt() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert retry_smaller(attempt, out_of_memory, CPU) == "done"
    failures.append(RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        retry_smaller(attempt, out_of_memory, CPU)


def _set_files(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Replace the files about memory; those that are not given do not exist."""
    read_text = Path.read_text

    def fake(self: Path, *arguments: object, **more: object) -> str:
        path = str(self)
        if path in files:
            return files[path]
        if path.startswith((MEMINFO, STATUS, CGROUP, OWN_GROUP)):
            raise FileNotFoundError(path)
        return read_text(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", fake)


def _group(limit: str, used: int, inactive_file: int, path: str = "") -> dict[str, str]:
    group = CGROUP + path
    return {
        f"{group}/memory.max": f"{limit}\n",
        f"{group}/memory.current": f"{used}\n",
        f"{group}/memory.stat": f"anon {used - inactive_file}\nfile {inactive_file}\ninactive_file {inactive_file}\n",
    }


def _old_group(limit: int, used: int, inactive_file: int, path: str) -> dict[str, str]:
    group = f"{CGROUP}/memory{path}"
    return {
        f"{group}/memory.limit_in_bytes": f"{limit}\n",
        f"{group}/memory.usage_in_bytes": f"{used}\n",
        f"{group}/memory.stat": f"inactive_file 0\ntotal_inactive_file {inactive_file}\n",
    }


MACHINE = {MEMINFO: f"MemTotal: {64 * 2**20} kB\nMemFree: {2 * 2**20} kB\nMemAvailable: {32 * 2**20} kB\n"}
JOB = {OWN_GROUP: "1:cpu:/other\n0::/slurm/job/step\n"}
OLD_JOB = {OWN_GROUP: "4:memory:/slurm/job\n1:cpu:/other\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "gib"),
    [
        (MACHINE, 32),
        (MACHINE | _group(str(8 * GIB), 6 * GIB, 5 * GIB), 7),  # of 6 GiB in use, 5 are page cache
        (MACHINE | _group(str(8 * GIB), 6 * GIB, 0), 2),
        (MACHINE | _group("max", 6 * GIB, 5 * GIB), 32),  # a container without a limit
        (MACHINE | _group(str(128 * GIB), 6 * GIB, 5 * GIB), 32),  # a limit above what the machine has
        (MACHINE | JOB | _group(str(8 * GIB), 6 * GIB, 0, "/slurm/job/step"), 2),
        (MACHINE | JOB | _group("max", 6 * GIB, 0, "/slurm/job/step") | _group(str(9 * GIB), 6 * GIB, 0, "/slurm"), 3),
        (MACHINE | JOB | _group(str(9 * GIB), 6 * GIB, 0, "/slurm/job") | _group(str(8 * GIB), 7 * GIB, 0), 1),
        (MACHINE | JOB | _group(str(8 * GIB), 6 * GIB, 0, "/other"), 32),
        (MACHINE | OLD_JOB | _old_group(8 * GIB, 6 * GIB, 2 * GIB, "/slurm/job"), 4),
        (MACHINE | OLD_JOB | _old_group(2**63 - 4096, 0, 0, "/slurm/job") | _old_group(8 * GIB, 6 * GIB, 0, ""), 2),
    ],
)
def test_free_memory_is_that_of_the_container_and_the_page_cache_counts_as_free(
    files: dict[str, str], gib: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_files(monkeypatch, files)
    assert free_bytes(CPU) == gib * GIB


def test_free_memory_is_known_without_linux_files(monkeypatch: pytest.MonkeyPatch) -> None:
    _set_files(monkeypatch, {})
    assert free_bytes(CPU) > 0


def test_memory_is_known_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no /proc and no count of the free pages, and counts the peak in bytes."""
    _set_files(monkeypatch, {})
    monkeypatch.setattr(os, "sysconf_names", dict.fromkeys(("SC_PAGE_SIZE", "SC_PHYS_PAGES"), 0))
    sizes = {"SC_PAGE_SIZE": 16384, "SC_PHYS_PAGES": 2**20}
    monkeypatch.setattr(os, "sysconf", lambda name: sizes[name])
    assert free_bytes(CPU) == 16 * GIB
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3 * 2**20))
    assert peak_mib(CPU) == 3


def _let_memory_run_out(monkeypatch: pytest.MonkeyPatch, once: bool) -> None:
    """Fail where the activations of block 1 are kept for the gradient; or at the first block computed, and no other."""
    run_block, seen = VGG.run_block, 0

    def scarce(self: VGG, block: int, values: Tensor, taps: object, last: bool) -> object:
        nonlocal seen
        seen += 1
        # A recomputed block begins at a leaf; a block whose activations are kept is part of the image's graph.
        kept = block == 1 and values.grad_fn is not None
        if (once and seen == 1) or (not once and kept):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 6442450944 bytes.")
        return run_block(self, block, values, taps, last)  # type: ignore[arg-type]

    monkeypatch.setattr(VGG, "run_block", scarce)


@pytest.mark.parametrize("when", ["while targets are measured", "during the optimisation"])
def test_a_run_that_runs_out_of_memory_continues_with_less(
    when: str, monkeypatch: pytest.MonkeyPatch, small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run(small("init=content"), tmp_path / "enough")
    assert expected.memory["48"]["strategy"] == "whole" and expected.memory["48"]["stepped_down"] == []
    _let_memory_run_out(monkeypatch, once=when == "while targets are measured")
    with caplog.at_level(logging.WARNING):
        record = run(small("init=content"), tmp_path / "scarce")
    assert record.status == "finished"
    assert [line for line in caplog.messages if line.startswith("out of memory")] == [
        f"out of memory with trainer.memory={WHOLE}; continuing with {Checkpointing(1).describe()}"
    ]
    written = records.read(tmp_path / "scarce")
    assert written
    noted = written.memory["48"]
    assert (noted["strategy"], noted["blocks"]) == ("checkpointed", 1) and len(noted["stepped_down"]) == 1
    assert record.captures[-1].losses["total"] == pytest.approx(expected.captures[-1].losses["total"], rel=1e-4)


def _fail_once(monkeypatch: pytest.MonkeyPatch) -> None:
    forward_backward, failures = StyleTransferModule._forward_backward, [MemoryError()]

    def scarce(self: StyleTransferModule) -> object:
        if failures:
            raise failures.pop()
        return forward_backward(self)

    monkeypatch.setattr(StyleTransferModule, "_forward_backward", scarce)


@pytest.mark.parametrize("strategy", ["tiled", "auto"])
def test_the_pairs_of_a_batch_have_the_strategy_that_each_would_have_alone(
    strategy: str, monkeypatch: pytest.MonkeyPatch, small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configs = [small("init=content", f"style={style}", f"trainer.memory={strategy}") for style in ("dots", "swell")]
    if strategy == "auto":
        _fail_once(monkeypatch)
    with caplog.at_level(logging.WARNING):
        together = run_batch([(config, tmp_path / str(number)) for number, config in enumerate(configs)])
    for number, config in enumerate(configs):
        alone = run(config, tmp_path / f"alone{number}")
        batched = together[number]
        assert isinstance(batched, RunRecord) and batched.status == "finished" and batched.batch == 2
        losses = [each.captures[-1].losses["total"] for each in (batched, alone)]
        if strategy == "tiled":
            assert batched.memory["48"]["strategy"] == alone.memory["48"]["strategy"] == "tiled"
            assert losses[0] == losses[1]
        else:
            assert batched.memory["48"]["strategy"] == "checkpointed" and alone.memory["48"]["strategy"] == "whole"
            assert batched.memory["48"]["stepped_down"] == [WHOLE]
            assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len([line for line in caplog.messages if line.startswith("out of memory")]) == 2 * (strategy == "auto")


def test_a_batch_that_runs_out_of_memory_first_evaluates_fewer_pairs_at_once(
    monkeypatch: pytest.MonkeyPatch, small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _fail_once(monkeypatch)
    jobs = [(small("init=content", f"style={style}"), tmp_path / style) for style in ("dots", "swell")]
    with caplog.at_level(logging.WARNING):
        found = run_batch(jobs, at_once=2)
    assert [line for line in caplog.messages if line.startswith("out of memory")] == [
        "out of memory; evaluating 1 pairs at once from here on"
    ]
    for record in found:
        assert isinstance(record, RunRecord) and record.status == "finished"
        assert record.memory["48"]["stepped_down"] == []


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_every_strategy_makes_the_same_picture(optimizer: str, small: Callable, tmp_path: Path) -> None:
    losses = {}
    for strategy in ("whole", "checkpointed", "tiled"):
        options = ("init=content", f"optimizer={optimizer}", f"trainer.memory={strategy}")
        record = run(small(*options), tmp_path / strategy)
        assert record.memory["48"]["strategy"] == strategy
        losses[strategy] = record.captures[-1].losses["total"]
    assert losses["checkpointed"] == pytest.approx(losses["whole"], rel=1e-4)
    assert losses["tiled"] == pytest.approx(losses["whole"], rel=1e-4)


def test_the_estimate_follows_the_size_and_the_options(large: MemoryEstimate) -> None:
    def peak(checkpointing: Checkpointing = KEEP_ALL, **options: object) -> float:
        return replace(large, config=RunConfig(**options)).peak(checkpointing, on_cpu=False)  # type: ignore[arg-type]

    def at(pixels: float) -> float:
        return _scaled(large, pixels**0.5).peak(KEEP_ALL)

    assert at(3) - at(2) == pytest.approx(at(2) - at(1), rel=0.01), "linear in the pixels"
    pair = 2 * PIXELS * 3 * 4
    pixels = Canvas("pixel")
    histories = [peak(canvas=pixels, optimizer=Optimizer("lbfgs", history=history)) for history in (20, 30)]
    assert histories[1] - histories[0] == pytest.approx(10 * pair)
    encoder = _vgg19()
    encoder.compute_in(torch.bfloat16)
    assert replace(large, encoder=encoder).peak(KEEP_ALL, on_cpu=False) < peak()
    regions = [replace(large, regions=count, config=RunConfig()).peak(KEEP_ALL, on_cpu=False) for count in (1, 3, 8)]
    assert regions == sorted(set(regions)), "each region has a palette of its own"
    smooth = _vgg19()
    smooth.swag = "paper"
    assert replace(large, encoder=smooth).peak(KEEP_ALL) > replace(large, encoder=_vgg19()).peak(KEEP_ALL)
    assert peak(canvas=Canvas("laplacian")) < peak(canvas=pixels)
    assert peak(loss=Loss(palette=0)) < peak() < peak(loss=Loss(patches=0.2))
    for terms, least in ((["sliced_wasserstein"], 28 * 32), (["nearest"], 12 * 64)):
        assert peak(loss=Loss(terms=terms)) - peak() > least * PIXELS
    assert peak(schedule=Schedule(average=0.5)) - peak() == pytest.approx(9 * PIXELS * 4)
    two_layers = 2 * 64 * PIXELS * 4  # of block 1, kept or recomputed
    assert peak() - peak(Checkpointing(2, True)) > two_layers
