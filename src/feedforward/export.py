"""Export feed-forward networks as ONNX."""

import io
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from src.common.files import write_atomically
from src.common.packages import require
from src.feedforward import STRIDE

if TYPE_CHECKING:
    from src.feedforward.weights import LoadedNetwork

STYLES = "styles"  # key of the model's metadata
LARGEST = 16384  # px, of a side
PACKAGES = {"onnx": "onnx", "onnxscript": "onnxscript"}


def export_onnx(loaded: "LoadedNetwork", path: Path) -> None:
    """Write a network as ONNX, whole or not at all.

    Its inputs are `image`, (1, 3, H, W) in [0, 1] with H and W multiples of 4, at least 8, and `shares`, (1, S), the
    share of each style; its output is `result`, (1, 3, H, W). The names of the styles are in the metadata, as JSON
    under `styles`.

    Raises:
        InputError: a package is missing, or the file cannot be written.
    """
    require("export", "onnx", PACKAGES)
    import onnx
    import torch

    rows, columns = (torch.export.Dim(name, max=LARGEST // STRIDE) for name in ("rows", "columns"))
    example = torch.zeros(1, 3, 16 * STRIDE, 24 * STRIDE), loaded.shares()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)
        program = torch.onnx.export(
            loaded.network,
            example,
            dynamo=True,
            dynamic_shapes={"images": {2: STRIDE * rows, 3: STRIDE * columns}, "shares": None},
            input_names=["image", "shares"],
            output_names=["result"],
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {STYLES: json.dumps(loaded.styles)})
    for node in model.graph.node:
        node.ClearField("metadata_props")  # stack traces of the exporter, most of the file
        node.ClearField("doc_string")
    buffer = io.BytesIO()
    onnx.save(model, buffer)
    write_atomically(path, buffer.getvalue())
