"""Held-out photographs of a trained network."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.config.schema import known_picture
from src.distill import evaluation
from src.distill.config import DistillConfig
from tests.support.photographs import write_network, write_photographs


def test_photographs_of_one_name_have_pictures_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photographs = [write_photographs(tmp_path / name, 2, (48, 32)) / "0.png" for name in ("a", "b")]
    (tmp_path / "b/1.png").replace(photographs[1])
    for name in ("objective_run", "build_objective"):
        monkeypatch.setattr(evaluation, name, lambda *_: None)
    monkeypatch.setattr(evaluation, "_total", lambda *_: 1.0)
    config = DistillConfig(style=known_picture("style", "dots"), edge=48)
    weights, encoder = write_network(tmp_path / "net.safetensors", ["dots"]), SimpleNamespace(mean=torch.zeros(3))
    arguments: Any = (config, weights, photographs, [torch.zeros(1, 3, 16, 16)], encoder, tmp_path)
    names = [row["photograph"] for row in evaluation.evaluate(*arguments)]
    assert len(set(names)) == 2
    pictures = [(tmp_path / f"held_out/{name}-dots.png").read_bytes() for name in names]
    assert pictures[0] != pictures[1]
