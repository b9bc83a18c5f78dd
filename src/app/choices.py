"""The choices of the page's form as options of a run."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.config.grammar import override_value
from src.config.schema import RunConfig, group_names, known_picture
from src.config.validation import CHOICES
from src.data.sources import find_picture

UPLOADED = "upload:"  # before the identifier of an upload, where a picture is chosen
MOST_STYLES = 4
# The form's name of a number, the option that it sets, and the smallest and largest value that the page takes.
NUMBERS = {
    "strength": ("loss.beta", 0.1, 100.0),
    "edge": ("edge", 64, 2048),
    "steps": ("steps", 1, 5000),
}
_FOUND: dict[tuple[str, str], Path] = {}  # files of named pictures, by kind and name
EDGE = 384  # px, the form's first value: a picture in half a minute on two CPU cores


def known(kind: str) -> dict[str, Path]:
    """Return the named content or style images (`kind`) whose files are on this machine, by name."""
    names = [name for name in group_names(kind) if name != "file"]
    for name in names:
        if (kind, name) not in _FOUND:  # one that is missing may be downloaded while the page is open
            with suppress(InputError):
                _FOUND[kind, name] = find_picture(kind, known_picture(kind, name), download=False).path
    return {name: _FOUND[kind, name] for name in names if (kind, name) in _FOUND}


def defaults() -> dict[str, Any]:
    """Return the first values of the form."""
    config = RunConfig()
    return {"strength": config.loss.beta, "edge": EDGE, "steps": config.steps, "color": config.color}


def overrides(form: Mapping[str, Any], upload: Callable[[str], Path]) -> list[str]:
    """Return the Hydra overrides for what was chosen on the page.

    Args:
        form: `content` and `style` (a known name, or UPLOADED and an identifier); `others`, a list of further styles
            with their `share`; `mask`, an upload or None, and `outside`, "content" or "style": what the part that is
            not painted takes; the numbers of `NUMBERS`; `color`.
        upload: returns the file of an upload by its identifier; raises InputError where the client has none.

    Raises:
        InputError: a value is missing, unknown or out of range.
    """
    found = _picture("content", form.get("content"), upload) + _picture("style", form.get("style"), upload)
    others = form.get("others") or []
    if not isinstance(others, list) or not all(isinstance(each, dict) for each in others):
        raise InputError("others must be a list of further styles")
    if len(others) >= MOST_STYLES:
        raise InputError(f"the page mixes at most {MOST_STYLES} styles; the command line takes more")
    if others:
        shares = [_number("share", each.get("share"), 0, 1) for each in others]
        if sum(shares) > 1:
            raise InputError(f"the shares of the further styles add up to {sum(shares):g}; at most 1 is possible")
        styles = [_style(each.get("style"), upload) for each in others]
        found += [f"blend.styles=[{','.join(styles)}]", f"blend.weights=[{','.join(f'{each:g}' for each in shares)}]"]
    if form.get("mask"):
        found.append(f"content.mask={override_value(str(_uploaded(form['mask'], upload)))}")
        if form.get("outside") == "style":
            if not others:
                raise InputError("mix in a second style for the part that is not painted")
            found.append(f"blend.masks=[{','.join(['0', *['255'] * (len(others) - 1)])}]")  # black, and white
        else:
            found.append("keep_unmasked=true")
    for name, (option, low, high) in NUMBERS.items():
        value = _number(option, form.get(name), low, high)
        if isinstance(low, int) and value != int(value):
            raise InputError(f"{option}: a whole number is needed")
        found.append(f"{option}={value:g}")
    color = form.get("color")
    if color not in CHOICES["color"]:
        raise InputError(f"color is one of {', '.join(CHOICES['color'])}")
    return [*found, f"color={color}"]


def sketched(form: Mapping[str, Any], upload: Callable[[str], Path]) -> tuple[Path, dict[str, float]]:
    """Return the content file of a choice and the share of each style by name, for a quick picture.

    Args:
        form: `content`, `style`, `others` and `edge`, as for `overrides`.
        upload: as for `overrides`.

    Raises:
        InputError: a value is missing, unknown or out of range.
    """
    overrides({**form, "mask": None, "steps": 1, "strength": 1.0, "color": "style"}, upload)
    content = form["content"]
    path = _uploaded(content, upload) if content.startswith(UPLOADED) else known("content")[content]
    shares: dict[str, float] = {}
    others = form.get("others") or []
    for style, share in [(form["style"], 1 - sum(each["share"] for each in others))] + [
        (each["style"], each["share"]) for each in others
    ]:
        shares[style] = shares.get(style, 0.0) + share
    return path, shares


def _picture(kind: str, chosen: Any, upload: Callable[[str], Path]) -> list[str]:
    if isinstance(chosen, str) and chosen.startswith(UPLOADED):
        return [f"{kind}=file", f"{kind}.path={override_value(str(_uploaded(chosen, upload)))}"]
    if not isinstance(chosen, str) or chosen not in known(kind):
        raise InputError(f"choose a {kind} picture")
    return [f"{kind}={chosen}"]


def _style(chosen: Any, upload: Callable[[str], Path]) -> str:
    if isinstance(chosen, str) and chosen.startswith(UPLOADED):
        return override_value(str(_uploaded(chosen, upload)))
    if not isinstance(chosen, str) or chosen not in known("style"):
        raise InputError("choose a picture for each further style")
    return chosen


def _uploaded(chosen: Any, upload: Callable[[str], Path]) -> Path:
    if not isinstance(chosen, str) or not chosen.startswith(UPLOADED):
        raise InputError("a picture is chosen by its name or its upload")
    return upload(chosen.removeprefix(UPLOADED))


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name}: a number is needed")
    if not low <= value <= high:
        raise InputError(f"{name} is between {low:g} and {high:g} on this page, not {value:g}")
    return value
