"""The form's choices become options of a run, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from src.app import choices
from src.app.choices import defaults, known, overrides
from src.common.errors import InputError
from src.config.composition import compose
from src.config.schema import RunConfig, plain

FORM = {"content": "cat", "style": "swell", **defaults()}


def upload(identifier: str) -> Path:
    if identifier != "abc":
        raise InputError("send it again")
    return Path("runs of mine/up, 1=[a]/dog.png")


def test_the_first_values_are_the_defaults_at_384_px(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STYLE_MIRROR", raising=False)
    config = plain(compose(overrides(FORM, upload)))
    assert config == plain(compose(["content=cat", "style=swell", "edge=384"]))
    assert {"cat", "coffee"} <= set(known("content")) and "udnie" not in known("style"), "nothing is downloaded"


def test_every_choice_reaches_its_option() -> None:
    others = [{"style": "dots", "share": 0.25}, {"style": "upload:abc", "share": 0.5}]
    form = {
        **FORM,
        "content": "upload:abc",
        "others": others,
        "mask": "upload:abc",
        "outside": "style",
        "color": "match",
    }
    config: RunConfig = compose(overrides({**form, "strength": 12.5, "edge": 512, "steps": 60}, upload))
    path = str(upload("abc"))
    assert (config.content.name, config.content.path, config.content.mask) == ("file", path, path)
    assert (config.blend.styles, config.blend.weights, config.blend.masks) == (
        ["dots", path],
        [0.25, 0.5],
        ["0", "255"],
    )
    assert (config.loss.beta, config.edge, config.steps, config.color) == (12.5, 512, 60, "match")
    assert not config.keep_unmasked
    assert compose(overrides({**FORM, "mask": "upload:abc"}, upload)).keep_unmasked


def test_a_picture_that_is_downloaded_while_the_page_is_open_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "style").mkdir()
    monkeypatch.setenv("STYLE_MIRROR", str(tmp_path))
    monkeypatch.setattr(choices, "_FOUND", {})
    monkeypatch.setattr("src.data.sources.checked", lambda path, sha256: sha256)
    assert "udnie" not in known("style")
    (tmp_path / "style" / "udnie.jpg").write_bytes(b"")
    assert known("style")["udnie"] == tmp_path / "style" / "udnie.jpg"
    assert list(known("style")) == sorted(known("style"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"content": "../../secret.png"}, "choose a content picture"),
        ({"content": "file"}, "choose a content picture"),
        ({"content": "/etc/passwd"}, "choose a content picture"),
        ({"style": "${oc.env:HOME}"}, "choose a style picture"),
        ({"style": "dots,swell"}, "choose a style picture"),
        ({"style": ["dots"]}, "choose a style picture"),
        ({"content": "upload:../abc"}, "send it again"),
        ({"mask": "src/assets/masks/astronaut.png"}, "by its name or its upload"),
        ({"others": [{"style": "/etc/passwd", "share": 0.5}]}, "for each further style"),
        ({"others": [{"style": "dots", "share": 0.7}, {"style": "swell", "share": 0.7}]}, "at most 1"),
        ({"others": [{"style": "dots", "share": 0.1}] * 4}, "at most 4 styles"),
        ({"others": "dots"}, "a list of further styles"),
        ({"edge": 100000}, "edge is between 64 and 2048"),
        ({"edge": "384 logger=wandb"}, "edge: a number is needed"),
        ({"edge": 100.5}, "edge: a whole number"),
        ({"steps": True}, "steps: a number is needed"),
        ({"strength": float("nan")}, "loss.beta: a number is needed"),
        ({"color": "sepia"}, "color is one of style, luminance"),
        ({"mask": "upload:abc", "outside": "style"}, "mix in a second style"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        overrides({**FORM, **changes}, upload)
