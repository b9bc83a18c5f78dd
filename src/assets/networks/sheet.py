"""Draw what the network of this folder makes of photographs, `python -m src.assets.networks.sheet FILE`."""

import sys
from pathlib import Path

from src.app.choices import known
from src.common.files import write_atomically
from src.data.images import read_pixels, tensor_image
from src.feedforward.weights import load_network
from src.paint.painter import Painter
from src.report.sheet import Cell, Row, lay_out

PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket")
EDGE = 356  # px


def main() -> None:
    """Write a sheet of photographs in rows and styles in columns."""
    loaded = load_network("own")
    rows = []
    for name in PHOTOGRAPHS:
        pixels = read_pixels(known("content")[name])
        cells: list[Cell | None] = [Cell(pixels.to_image(), name, [])]
        for style in loaded.styles:
            result = Painter(loaded, loaded.shares(style), edge=EDGE).paint(pixels)[0, :3]
            cells.append(Cell(tensor_image(result), style, []))
        rows.append(Row([], cells))
    write_atomically(Path(sys.argv[1]), lay_out(["", *loaded.styles], rows))


if __name__ == "__main__":
    main()
