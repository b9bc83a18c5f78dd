"""Starting images."""

from collections.abc import Callable

import pytest
import torch

from src.common.errors import InputError
from src.config.schedule import Stage
from src.config.schema import Init
from src.transfer.start import starting_image
from tests.support.prepare import prepare_run


def test_noise_is_seeded() -> None:
    content, style = torch.rand(1, 3, 40, 44), torch.rand(1, 3, 30, 50)
    first, again, other = (starting_image(Init("noise"), content, style, seed, None) for seed in (1, 1, 2))
    assert first.shape == content.shape and 0 <= first.min() < first.max() <= 1
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)


def test_a_given_start_must_have_the_contents_size() -> None:
    with pytest.raises(InputError, match="content's size"):
        starting_image(Init("style"), torch.rand(1, 3, 10, 12), torch.rand(1, 3, 9, 9), 0, torch.rand(1, 3, 9, 12))


def test_a_larger_stage_keeps_the_contents_detail(small: Callable) -> None:
    """The change of the stage before is enlarged and added to the content at the new size."""
    run = prepare_run(small("init=content", "schedule=pyramid", "edge=128"))
    before = run.enter(Stage(64, 0, 1), None, fresh=True)
    after = run.enter(Stage(128, 1, 2), before + 0.1, fresh=True)
    torch.testing.assert_close(after, run.inputs.content + 0.1, rtol=0, atol=1e-4)
