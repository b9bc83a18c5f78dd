"""What of a network is computed anew for the gradient, and the bands of rows in which it is."""

from dataclasses import dataclass

# What one layer of a band may take, bytes. Larger ones compute less twice, smaller ones need less: a fifth of the peak
# for a twentieth of the time, against 128 MiB.
BAND = 24 * 2**20


@dataclass(frozen=True)
class Recomputation:
    """What of an evaluation is computed anew for the gradient, in place of being kept.

    Attributes:
        blocks: the first so many blocks of the network are; the others are kept.
        banded: whether in bands of rows; otherwise a block at a time.
    """

    blocks: int = 0
    banded: bool = False

    @property
    def strategy(self) -> str:
        """Return its name: whole | checkpointed | tiled."""
        return "whole" if self.blocks == 0 else "tiled" if self.banded else "checkpointed"

    def described(self) -> str:
        """Return it in words."""
        if self.blocks == 0:
            return "whole, every layer kept"
        which = "block 1" if self.blocks == 1 else f"blocks 1 to {self.blocks}"
        return f"{self.strategy}, {which} computed anew for the gradient{' in bands of rows' * self.banded}"

    def bands(self, height: int, row_bytes: float, reach: int, pools: bool) -> list["Band"]:
        """Return the bands of a block's input.

        Args:
            height: its rows.
            row_bytes: what a row of its widest layer takes.
            reach: rows that one of its outputs depends on, above and below.
            pools: whether two rows become one at its end.
        """
        rows = height
        if self.banded:
            rows = max(2 * reach, int(BAND / row_bytes) // 2 * 2)
        tops = range(0, height, rows)
        if len(tops) > 1 and height - tops[-1] < 2:  # a last row alone is pooled to nothing
            tops = tops[:-1]
        bottoms = [*tops[1:], height]
        return [Band(top, bottom, height, reach + reach % 2, pools) for top, bottom in zip(tops, bottoms, strict=True)]


KEPT = Recomputation()


@dataclass(frozen=True)
class Band:
    """Rows [top, bottom) of a block's layers, `height` in all; `reach` rows around them are read."""

    top: int
    bottom: int
    height: int
    reach: int
    pools: bool

    @property
    def read(self) -> slice:
        """Return the rows of the block's input that it is computed from."""
        return slice(max(0, self.top - self.reach), min(self.height, self.bottom + self.reach))

    @property
    def rows(self) -> slice:
        """Return its rows."""
        return slice(self.top, self.bottom)

    @property
    def inner(self) -> slice:
        """Return its rows among those that were computed."""
        return slice(self.top - self.read.start, self.bottom - self.read.start)

    @property
    def pooled(self) -> slice:
        """Return its rows of the block's output."""
        return slice(self.top // 2, self.bottom // 2) if self.pools else self.rows

    @property
    def inner_pooled(self) -> slice:
        """Return its rows of the output among those that were computed."""
        first, last = self.inner.start, self.inner.stop
        return slice(first // 2, last // 2) if self.pools else self.inner
