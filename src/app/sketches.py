"""Quick pictures of a choice, by a feed-forward network in one pass, before a run is started."""

import io
import json
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from src.app.uploads import DECODING
from src.data.images import read_image, working_size
from src.feedforward import SMALLEST, STRIDE

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NETWORK = Path(__file__).resolve().parent.parent / "assets" / "networks" / "own.onnx"
EDGE = 512  # px, of a quick picture at most


class Sketches:
    """Runs the network that comes with the program by ONNX Runtime, without PyTorch.

    Args:
        network: an ONNX file of `python -m src.paint export=FILE`; without it there are no quick pictures.
    """

    def __init__(self, network: Path = NETWORK) -> None:
        self.network = network
        self._lock = threading.Lock()  # one picture at a time, so that requests do not slow a run down together

    @property
    def styles(self) -> list[str]:
        """Return the names of the styles that quick pictures are made of."""
        return self._loaded[1] if self._loaded else []

    @cached_property
    def _loaded(self) -> "tuple[InferenceSession, list[str]] | None":
        if not self.network.is_file():
            return None
        import onnxruntime

        session = onnxruntime.InferenceSession(self.network, providers=["CPUExecutionProvider"])
        return session, json.loads(session.get_modelmeta().custom_metadata_map["styles"])

    def make(self, content: Path, shares: Mapping[str, float], edge: int) -> bytes | None:
        """Return the quick picture as JPEG; None if the network lacks one of the styles.

        Args:
            content: file of the content image.
            shares: of each style, by name.
            edge: long side of the picture, px; at most EDGE is used.

        Raises:
            InputError: the file cannot be read.
        """
        if self._loaded is None or not set(shares) <= set(self.styles) or not sum(shares.values()) > 0:
            return None
        session, styles = self._loaded
        weights = np.array([[shares.get(style, 0.0) for style in styles]], np.float32)
        with DECODING:
            image = read_image(content)
            width, height = size = working_size(image.size, min(edge, EDGE), "keep")
            image = image.resize(size, Image.Resampling.BILINEAR)
        values = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
        rows, columns = (max(-side % STRIDE, SMALLEST - side) for side in (height, width))
        padded = np.pad(values, ((0, 0), (0, 0), (0, rows), (0, columns)), mode="edge")
        with self._lock:
            (result,) = session.run(None, {"image": padded, "shares": weights / weights.sum()})
        pixels = (result[0, :, :height, :width].transpose(1, 2, 0) * 255).round().astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=90, subsampling=0)  # strokes are fine and colourful
        return buffer.getvalue()
