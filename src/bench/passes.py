"""Pictures per second of networks in one pass: section `one_pass`."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from src.bench.cases import open_device
from src.bench.plan import Plan
from src.bench.results import Label, Row
from src.bench.timing import interleaved
from src.common.packages import missing
from src.feedforward.export import PACKAGES, export_onnx
from src.feedforward.network import StyleNetwork
from src.feedforward.weights import LoadedNetwork

PYTORCH, ONNX = "PyTorch", "ONNX Runtime"


def one_pass(plan: Plan) -> Iterator[Row]:
    """Yield each network and size by PyTorch and, on a CPU, by ONNX Runtime, which take turns."""
    device = open_device(plan)
    without_onnx = bool(missing({**PACKAGES, "onnxruntime": "onnxruntime"}))
    for size in plan.networks:
        network = StyleNetwork(size).eval().requires_grad_(False)
        session = None if without_onnx or device.type != "cpu" else _session(network)
        network.to(device)
        for edge in plan.pictures:
            image, shares = torch.rand(1, 3, edge, edge, device=device), torch.ones(1, 1, device=device)
            calls: dict[str, Callable[[], object]] = {PYTORCH: lambda: network(image, shares)}  # noqa: B023
            if session is not None:
                given = {"image": image.numpy(), "shares": shares.numpy()}
                calls[ONNX] = lambda: session.run(None, given)  # noqa: B023
            for runtime, timing in interleaved(calls, plan, device).items():
                case: Label = {"network": size, "edge": edge, "runtime": runtime}
                yield Row(case, {"seconds": timing["seconds"], "it_per_s": 1 / timing["seconds"]})


def _session(network: StyleNetwork) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(LoadedNetwork(network, ("style",), path), path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
