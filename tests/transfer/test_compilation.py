"""torch.compile: used where it is possible and saves time, decided once a run, without changing the result."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from src.common.errors import InputError
from src.encoders.checkpointing import KEEP_ALL
from src.run import resume, run, run_batch
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.transfer import compilation
from tests.support.runs import run_until

ON_CPU = torch.zeros(1, 3, 8, 8)


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Replace the time of an evaluation, s, and the obstacle to compiling."""

    def pretend(seconds: float, reason: str = "") -> None:
        monkeypatch.setattr(compilation, "_seconds", lambda objective, image: seconds)
        monkeypatch.setattr(compilation, "obstacle", lambda device: reason)

    return pretend


def _decide(asked: str, precision: str, steps: int, sizes: int = 1) -> bool:
    return compilation.decide(asked, None, ON_CPU, precision, steps, sizes)  # type: ignore[arg-type]


def test_auto_compiles_a_run_long_enough_to_save_more_than_it_costs(takes: Callable) -> None:
    takes(1.0)
    least = round(compilation.MARGIN * compilation.COMPILE_SECONDS / compilation.SAVED_ON_CPU["bf16"])
    assert _decide("auto", "bf16", 2 * least) and not _decide("auto", "bf16", least // 2)
    assert not _decide("auto", "bf16", 2 * least, sizes=3), "each size is compiled separately"
    assert not _decide("auto", "32", 10**6), "float32 gains nothing on a CPU"
    assert _decide("always", "32", 1) and not _decide("never", "bf16", 10**6)


def test_without_a_compiler_auto_runs_eagerly_and_always_is_an_error(
    takes: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    takes(1.0, "there is no C++ compiler")
    with caplog.at_level("INFO"):
        assert not _decide("auto", "bf16", 10**6)
    assert [record.message for record in caplog.records] == ["not compiled: there is no C++ compiler"]
    with pytest.raises(InputError, match=r"trainer\.compile=always is not possible: there is no C"):
        _decide("always", "32", 1)


def test_a_missing_compiler_is_detected() -> None:
    from torch._inductor import config

    with config.patch({"cpp.cxx": ("no-such-compiler",)}):
        assert compilation.obstacle(torch.device("cpu")) == "there is no C++ compiler"


@pytest.mark.long
@pytest.mark.skipif(bool(compilation.obstacle(torch.device("cpu"))), reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_a_compiled_run_ends_as_an_eager_one_and_resumes_compiled(
    small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The compiled run is interrupted at step 4 and resumed, although the resume asks for trainer.compile=never."""
    options = ("backbone.pool=blur", "loss.rematch=4", "init=content")
    eager = run(small("trainer.compile=never", *options), tmp_path / "eager")
    with caplog.at_level("INFO"):
        run_until(4, small("trainer.compile=always", *options), tmp_path / "compiled")
        stopped = records.read(tmp_path / "compiled")
        assert stopped and (stopped.status, stopped.step, stopped.compiled) == ("interrupted", 4, True)
        assert caplog.text.count("compiled in ") == 1
        resumed = resume(tmp_path / "compiled", {"trainer": {"compile": "never"}})
    assert caplog.text.count("compiled in ") == 2
    assert (eager.compiled, resumed.compiled, resumed.status) == (False, True, "finished")
    assert resumed.captures[-1].losses["total"] == pytest.approx(eager.captures[-1].losses["total"], rel=1e-4)


def test_a_run_continues_eagerly_where_the_compiler_fails(
    monkeypatch: pytest.MonkeyPatch, small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> Callable:
        def fail(image: torch.Tensor) -> None:
            raise RuntimeError("the compiler has crashed\nin detail")

        return fail

    monkeypatch.setattr(compilation.torch, "compile", broken)
    with caplog.at_level("INFO"):
        record = run(small("trainer.compile=always", "init=content"), tmp_path / "broken")
    assert record.status == "finished" and "not compiled: the compiler has crashed" in caplog.text
    assert caplog.text.count("not compiled") == 1 and record.compiled is False
    plain = run(small("trainer.compile=never", "init=content"), tmp_path / "plain")
    assert record.captures[-1].losses == plain.captures[-1].losses


def test_a_compiled_batch_that_runs_out_of_memory_continues_eagerly(
    monkeypatch: pytest.MonkeyPatch, small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluated: list[int] = []

    def scarce(*_: object, **__: object) -> Callable:
        def fail(image: Tensor) -> None:
            evaluated.append(len(image))
            raise MemoryError

        return fail

    monkeypatch.setattr(compilation.torch, "compile", scarce)
    jobs = [(small("trainer.compile=always", f"style={style}"), tmp_path / style) for style in ("dots", "swell")]
    with caplog.at_level("INFO"):
        found = run_batch(jobs)
    assert evaluated == [2]
    told = [line for line in caplog.messages if line.startswith(("not compiled", "out of memory"))]
    assert told == ["not compiled: memory has run out"], "both together still fit"
    for record in found:
        assert isinstance(record, RunRecord) and (record.status, record.compiled) == ("finished", False)


class _Scaled(nn.Module):
    """An objective that is compiled in no time."""

    searched, checkpointing = True, KEEP_ALL

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.encoder = factor, SimpleNamespace(mean=torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        return self.factor * image


def test_every_stage_is_compiled_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo import config
    from torch._dynamo.testing import CompileCounter

    counter, compile = CompileCounter(), torch.compile
    monkeypatch.setattr(compilation.torch, "compile", lambda objective, **_: compile(objective, backend=counter))
    with config.patch(recompile_limit=2):
        for number in range(1, 6):
            compilation.compiled(_Scaled(number))(ON_CPU)  # type: ignore[arg-type]
            assert counter.frame_count == number
