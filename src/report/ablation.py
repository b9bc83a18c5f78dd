"""Layer sets against alpha/beta, as in Figure 3 of Gatys et al.: what the two say about a picture, side by side."""

import math
from collections.abc import Sequence

from src.common.tables import number, plain_text
from src.report.figures import ROWS, Cell, Row, lay, source
from src.report.labels import Run, alike, label, ratio
from src.report.pictures import Pictures
from src.tracking.record import RunRecord

FREE = ("layers", "alpha", "beta")


def choose(runs: Sequence[Run]) -> list[Run]:
    """Return the runs to draw: alike but for their pair, layer set and weights; none where these do not vary."""
    chosen = alike(runs, FREE)
    return chosen if len({(record.layers, ratio(record)) for _, record in chosen}) > 1 else []


def pairs(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return the pairs of images, each once."""
    return list(dict.fromkeys((record.content, record.style) for _, record in runs))


def room(runs: Sequence[Run]) -> int:
    """Return how many pairs the figure has room for."""
    return max(1, ROWS // len(_axes(runs)[0]))


def draw(runs: Sequence[Run], pictures: Pictures) -> bytes:
    """Return the figure as PNG. Both vary: layer sets down, weights across, a block a pair. Else: a row a pair.

    Args:
        runs: as `choose` gives them.
        pictures: where they come from.
    """
    down, across = _axes(runs)
    places = {((run[1].content, run[1].style), _layers(run[1]), _weights(run[1])): run for run in runs}
    rows = []
    for pair in pairs(runs)[: room(runs)]:
        record = next(each for _, each in runs if (each.content, each.style) == pair)
        cells: list[Cell | None] = [source(kind, record, pictures) for kind in ("content", "style")]
        for name in down:
            for column in across:
                found = [
                    run for place, run in places.items() if place[0] == pair and {name, column} <= {"", *place[1:]}
                ]
                cells.append(_cell(found[0], pictures) if found else None)
            rows.append(Row([name] if name else [], cells))
            cells = [None, None]  # content and style once a block
    return lay(["content", "style", *across], rows)


def _layers(record: RunRecord) -> str:
    return plain_text(f"layers {record.layers}")


def _weights(record: RunRecord) -> str:
    return f"α/β = {ratio(record)}"


def _axes(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """Return what goes down, one name without words where only one of the two varies, and what goes across."""
    share = {_weights(each): each.beta / each.alpha if each.alpha else math.inf for _, each in runs}
    layers, weights = sorted({_layers(record) for _, record in runs}), sorted(share, key=share.__getitem__)
    if len(layers) > 1 and len(weights) > 1:
        return layers, weights
    return [""], weights if len(weights) > 1 else layers


def _cell(run: Run, pictures: Pictures) -> Cell:
    folder, record = run
    measured = [f"SSIM {record.ssim:.3f}"] if record.ssim is not None else []
    measured += [f"Gram distance {number(record.gram_distance)}"] if record.gram_distance is not None else []
    file = record.captures[-1].file
    return Cell(pictures.capture(folder / file), plain_text(file), [*measured, *label(record, ())])
