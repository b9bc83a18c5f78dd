"""Compiling: the same numbers, decided once, and only where it can be done and repays its cost."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from src.common.errors import InputError
from src.run import resume, run
from src.transfer import compilation as compiling

ON_CPU = torch.zeros(1, 3, 8, 8)


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Pretend that an evaluation takes so many seconds, on a machine with a compiler."""

    def pretend(seconds: float, reason: str = "") -> None:
        monkeypatch.setattr(compiling, "_seconds", lambda objective, image: seconds)
        monkeypatch.setattr(compiling, "obstacle", lambda device: reason)

    return pretend


def _decide(asked: str, precision: str, steps: int, sizes: int = 1) -> bool:
    return compiling.decide(asked, None, ON_CPU, precision, steps, sizes)  # type: ignore[arg-type]


def test_a_long_run_compiles_by_itself_where_that_repays_its_cost(takes: Callable) -> None:
    takes(1.0)
    least = round(compiling.MARGIN * compiling.WARM_UP / compiling.SAVED["bf16"])
    assert _decide("auto", "bf16", 2 * least) and not _decide("auto", "bf16", least // 2)
    assert not _decide("auto", "bf16", 2 * least, sizes=3), "each size is compiled for itself"
    assert not _decide("auto", "32", 10**6), "measured: no gain"
    assert _decide("always", "32", 1) and not _decide("never", "bf16", 10**6)


def test_without_a_compiler_it_is_left_out_or_told(takes: Callable, caplog: pytest.LogCaptureFixture) -> None:
    takes(1.0, "there is no C++ compiler")
    with caplog.at_level("INFO"):
        assert not _decide("auto", "bf16", 10**6)
    assert [record.message for record in caplog.records] == ["not compiled: there is no C++ compiler"]
    with pytest.raises(InputError, match=r"trainer\.compile=always: there is no C"):
        _decide("always", "32", 1)


def test_a_compiler_that_is_not_there_is_noticed() -> None:
    from torch._inductor import config

    with config.patch({"cpp.cxx": ("no-such-compiler",)}):
        assert compiling.obstacle(torch.device("cpu")) == "there is no C++ compiler"


@pytest.mark.slow
@pytest.mark.skipif(bool(compiling.obstacle(torch.device("cpu"))), reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_a_compiled_run_makes_the_same_picture_and_is_resumed_as_it_was(small: Callable, tmp_path: Path) -> None:
    more = ("backbone.pool=blur", "loss.rematch=4", "init=content")
    plain = run(small("trainer.compile=never", *more), tmp_path / "plain")
    fast = run(small("trainer.compile=always", *more), tmp_path / "fast")
    assert (plain.compiled, fast.compiled) == (False, True)
    assert fast.captures[-1].loss_total == pytest.approx(plain.captures[-1].loss_total, rel=1e-4)
    again = resume(tmp_path / "fast", {"trainer": {"compile": "never"}})
    assert again.compiled, "finished, it stays as it was"


def test_a_compiler_that_fails_leaves_the_run_as_it_is(
    monkeypatch: pytest.MonkeyPatch, small: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> Callable:
        def fail(normalized: torch.Tensor) -> None:
            raise RuntimeError("the compiler has crashed\nin detail")

        return fail

    monkeypatch.setattr(compiling.torch, "compile", broken)
    with caplog.at_level("INFO"):
        record = run(small("trainer.compile=always", "init=content"), tmp_path / "broken")
    assert record.status == "finished" and "not compiled: the compiler has crashed" in caplog.text
    assert caplog.text.count("not compiled") == 1
    plain = run(small("trainer.compile=never", "init=content"), tmp_path / "plain")
    assert record.captures[-1].loss_total == plain.captures[-1].loss_total
