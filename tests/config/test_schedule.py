"""The stages of a run, and the steps at which its loop pauses."""

from collections.abc import Callable

import pytest

from src.config.schedule import Stage, Timetable, stages


def test_the_timetable_pauses_where_something_is_due() -> None:
    table = Timetable(steps=100, captures=(33, 100), log_every=25, checkpoint_every=40, chunk=30)
    pauses, step = [], 0
    while step < 100:
        step = table.next_pause(step)
        pauses.append(step)
    assert pauses == [25, 30, 33, 40, 50, 60, 75, 80, 90, 100]
    assert [step for step in pauses if table.tests_at(step)] == [30, 60, 90]
    assert [step for step in pauses if table.logs_at(step)] == [25, 50, 75, 100]
    assert [step for step in pauses if table.saves_at(step)] == [40, 80, 100]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["edge=356", "steps=300", "schedule=pyramid", "schedule.sizes=3", "schedule.last=null"],
            [(178, 0, 100), (252, 100, 200), (356, 200, 300)],
        ),
        (["edge=100", "steps=9", "schedule=pyramid", "schedule.last=null"], [(71, 0, 5), (100, 5, 9)]),
        (["edge=64", "steps=9", "schedule=pyramid"], [(64, 0, 9)]),
        (["edge=356", "steps=2", "schedule=pyramid"], [(252, 0, 1), (356, 1, 2)]),
        (["edge=356", "steps=10"], [(356, 0, 10)]),
        (["edge=256", "steps=10", "schedule=pyramid", "schedule.sizes=2"], [(181, 0, 5), (256, 5, 10)]),
        (
            ["edge=256", "steps=10", "schedule=pyramid", "schedule.sizes=2", "schedule.factor=2", "schedule.last=0.2"],
            [(128, 0, 8), (256, 8, 10)],
        ),
        (
            ["edge=256", "steps=3", "schedule=pyramid", "schedule.sizes=3", "schedule.last=0.01"],
            [(128, 0, 1), (181, 1, 2), (256, 2, 3)],
        ),
        (
            ["edge=256", "steps=60", "schedule=pyramid", "schedule.sizes=3", "schedule.last=0.5", "schedule.first=0.8"],
            [(128, 0, 24), (181, 24, 30), (256, 30, 60)],
        ),
        (
            ["edge=256", "steps=10", "schedule=pyramid", "schedule.sizes=2", "canvas.turns=3"],
            [(181, 0, 5), (256, 5, 7, 0, 0), (256, 7, 8, 1, 2), (256, 8, 10, 2, 3)],
        ),
        (["edge=356", "steps=2", "canvas.turns=3"], [(356, 0, 1, 0, 0), (356, 1, 2, 1, 1)]),
    ],
)
def test_stages_grow_to_the_edge_and_share_the_steps(
    overrides: list[str], expected: list[tuple[int, ...]], small: Callable
) -> None:
    assert stages(small(*overrides)) == [Stage(*each) for each in expected]
