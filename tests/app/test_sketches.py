"""Quick previews by the network that comes with the program."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.app import addresses, sketches, uploads
from src.app.choices import defaults, known, sketched
from src.app.sketches import EDGE, NETWORK, Sketches
from src.common.errors import InputError
from src.data.images import read_pixels
from src.feedforward.weights import load_network
from src.paint.painter import Painter
from tests.app.conftest import Served
from tests.app.test_serving import send
from tests.support import ROOT

pytest.importorskip("onnxruntime", reason="the extra app is not installed")
FORM: dict[str, Any] = {"content": "cat", "style": "swell", **defaults()}


def test_a_quick_picture_is_that_of_the_network() -> None:
    """The ONNX file and the weights that come with the program are one network."""
    path, sketches = known("content")["cat"], Sketches()
    loaded = load_network("own")
    assert tuple(sketches.styles) == loaded.styles == ("brushwork", "dots", "swell", "tesserae")
    data = sketches.make(path, {"swell": 0.25, "dots": 0.75}, 160)
    assert data is not None
    found = np.asarray(Image.open(io.BytesIO(data)), np.float64)
    painter = Painter(loaded, loaded.shares(None, [0.0, 0.75, 0.25, 0.0]), edge=160)
    expected = painter.paint(read_pixels(path))[0].permute(1, 2, 0).numpy() * 255
    assert (
        found.shape == expected.shape and np.abs(found - expected).mean() < 8
    )  # JPEG of fine strokes; other shares differ by 20


def test_a_narrow_picture_is_sketched(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 8), (200, 90, 30)).save(tmp_path / "narrow.png")
    data = Sketches().make(tmp_path / "narrow.png", {"swell": 1.0}, 160)
    assert data is not None and Image.open(io.BytesIO(data)).size == (160, 1)


def test_there_is_none_for_other_styles_or_without_a_network(tmp_path: Path) -> None:
    path = known("content")["cat"]
    assert Sketches().make(path, {"swell": 0.5, "candy": 0.5}, 96) is None
    nothing = Sketches(tmp_path / "none.onnx")
    assert nothing.styles == [] and nothing.make(path, {"swell": 1.0}, 96) is None


def test_shares_are_those_of_the_form() -> None:
    others = [{"style": "dots", "share": 0.25}, {"style": "swell", "share": 0.25}]
    path, shares = sketched({**FORM, "others": others}, lambda _: Path())
    assert path == known("content")["cat"] and shares == {"swell": 0.75, "dots": 0.25}
    for wrong in ({"edge": 5}, {"edge": "x"}, {"content": "nothing"}, {"others": [{"style": "dots", "share": 2}]}):
        with pytest.raises(InputError):
            sketched({**FORM, **wrong}, lambda _: Path())


def test_the_server_answers_with_a_picture_or_with_nothing(served: Served) -> None:
    client, stranger = served.client(), served.client()
    assert client.get("/api/form").json["sketched"] == ["brushwork", "dots", "swell", "tesserae"]
    answer = client.post("/api/sketch", FORM)
    assert answer.status == 200 and answer.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(answer.body)).size) == FORM["edge"]
    assert max(Image.open(io.BytesIO(client.post("/api/sketch", {**FORM, "edge": 2048}).body)).size) == EDGE
    upload = send(client)["value"]
    assert client.post("/api/sketch", {**FORM, "content": upload}).status == 200
    assert stranger.post("/api/sketch", {**FORM, "content": upload}).status == 400, "another client's upload"
    assert client.post("/api/sketch", {**FORM, "style": upload}).status == 204
    assert client.post("/api/sketch", {**FORM, "content": "/etc/passwd"}).status == 400
    assert client.post("/api/sketch", FORM, origin="http://evil.example").status == 403


def test_one_picture_is_decoded_at_a_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def noted(decode: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: held.append(uploads.DECODING.locked()) or decode(*given)

    for module, name in ((uploads, "read_image"), (addresses, "reduced"), (sketches, "read_image")):
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    client = served.client()
    sent = send(client)
    assert client.get(sent["large"]).status == 200
    assert client.post("/api/sketch", {**FORM, "content": sent["value"]}).status == 200
    assert held == [True] * 3


def test_a_quick_picture_loads_no_pytorch() -> None:
    code = (
        "import sys; from src.app.choices import known; from src.app.sketches import Sketches; "
        "assert Sketches().make(known('content')['cat'], {'dots': 1.0}, 96); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert NETWORK.stat().st_size < 350_000
