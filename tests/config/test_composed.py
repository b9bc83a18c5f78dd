"""The tests' own way to compose a configuration gives what Hydra gives."""

from collections.abc import Callable

import pytest

from src.common.errors import InputError
from src.config.composition import compose
from tests.conftest import SMALL


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=paper", "steps=3"],
        ["style=swell", "stop_at_loss=null", "captures=[0.5,3]", "trainer.kernels=off"],
        ["layers=c", "loss.content_tap=relu2_2"],
        ["loss.terms=[cmd,mean_std]", "blend.styles=[dots]", "blend.weights=[0.5]"],
        ["style.path='a, b.png'", "+study=x"],
    ],
)
def test_it_equals_hydras(overrides: list[str], small: Callable) -> None:
    assert small(*overrides) == compose([*SMALL, *overrides])


@pytest.mark.parametrize("override", ["steps=many", "stepz=9", "style=dots,swell", "seed=1,2", "content.path=a b=c"])
def test_its_errors_are_those_of_the_command_line(override: str, small: Callable) -> None:
    with pytest.raises(InputError) as expected:
        compose([*SMALL, override])
    with pytest.raises(InputError) as found:
        small(override)
    assert str(found.value) == str(expected.value)
