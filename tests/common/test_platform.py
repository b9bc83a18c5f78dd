"""What is known of the machine, on devices that this one may not have."""

import pytest
import torch

from src.common.errors import InputError
from src.common.platform import now, resolved_precision

MPS = torch.device("mps")


def test_the_clock_waits_for_an_apple_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append(True))
    now(torch.device("cpu"))
    assert not waited
    now(MPS)
    assert waited


def test_float64_on_an_apple_gpu_that_auto_chose_is_an_error() -> None:
    assert resolved_precision("auto", MPS) == resolved_precision("32", MPS) == "32"
    assert resolved_precision("64", torch.device("cpu")) == "64"
    with pytest.raises(InputError, match="precision=64 needs trainer=cpu"):
        resolved_precision("64", MPS)
