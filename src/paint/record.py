"""`paint.json`: what a network stylised, and how fast."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from src.common.errors import OTHER_FOLDER, InputError
from src.tracking.command_record import CommandRecord


@dataclass(kw_only=True)
class PaintRecord(CommandRecord):
    """Network and results of a job.

    Attributes:
        weights_sha256: checksum of the network's file.
        shares: of each style, by name.
        results: by file name, what was stylised: `content_sha256` of an image, `width`, `height`, px, `seconds` that
            the network took, `frames` of a clip, and `camera` of a recording, noted before it begins; empty where the
            file was made by another network or with other options.
    """

    file: ClassVar[str] = "paint.json"
    kind: ClassVar[str] = "stylised pictures"

    weights_sha256: str | None = None
    shares: dict[str, float] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the record of a folder, None if it has none.

        Raises:
            InputError: the file is not such a record; the message says what to do.
        """
        try:
            return super().read(folder)
        except InputError as error:
            raise InputError(f"{error}; delete its folder, or {OTHER_FOLDER}") from None
