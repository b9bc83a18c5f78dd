"""When two configurations describe the same run, and the folder name derived from it."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from src.config.schema import (
    RunConfig,
    blended,
    is_label,
    is_network_name,
    picture_name,
    plain,
    style_scales,
    style_shares,
)
from src.config.validation import WEIGHTS

# Fields that do not make another run: where it runs, what tracks it and how often, which search it belongs to.
NON_IDENTITY_FIELDS: tuple[str, ...] = (
    *("logger", "trainer", "mirror", "resume", "log_every", "checkpoint_every"),
    *("preview_every", "max_megapixels", "score", "study", "trial"),
)
# Options with which a run may continue beyond its end, in a new folder.
EXTENDED_FIELDS: tuple[str, ...] = ("steps", "stop_at_loss", "captures")
LONGEST_NAME = 150  # bytes of the words in a folder's name; queue and continuations add to it
_DESCRIPTION = ("title", "artist", "year", "licence")


def identity(config: RunConfig) -> dict[str, Any]:
    """Return the plain configuration without `NON_IDENTITY_FIELDS` and descriptions: equal for the same run."""
    spec = {key: value for key, value in plain(config).items() if key not in NON_IDENTITY_FIELDS}
    for kind in ("content", "style"):
        # A checksum identifies the file, whatever its address.
        silent = _DESCRIPTION if spec[kind]["sha256"] is None else (*_DESCRIPTION, "url")
        spec[kind] = {key: value for key, value in spec[kind].items() if key not in silent}
    for kind in ("content", "style", "init"):
        if spec[kind]["path"] and not (kind == "init" and is_network_name(config.init)):
            spec[kind]["path"] = _absolute(spec[kind]["path"])
    for kind in ("content", "style"):
        spec[kind]["mask"] = _mask(spec[kind]["mask"])
    if spec["backbone"]["weights"] not in WEIGHTS:
        spec["backbone"]["weights"] = _absolute(spec["backbone"]["weights"])
    pictures = zip(config.blend.styles, blended(config), strict=True)
    spec["blend"] = {
        "styles": [_absolute(picture.path) if picture.path else name for name, picture in pictures],
        "weights": style_shares(config) if config.blend.styles else [],
        "masks": [_mask(mask) for mask in config.blend.masks],
    }
    # Options that came later are left out where they are not used, so that earlier runs keep their folder names.
    references = spec.pop("reference")
    views, turns = spec["canvas"].pop("views"), spec["canvas"].pop("turns")
    if config.reference.images:
        spec["reference"] = {name: [_absolute(path) for path in paths] for name, paths in references.items()}
    else:
        del spec["loss"]["reference"]
    if views:
        spec["canvas"]["views"] = _absolute(views)
        spec["canvas"] |= {"turns": turns} if turns > 1 else {}
    if config.loss.self_similarity == 0:
        del spec["loss"]["self_similarity"]
    scales = style_scales(config)
    spec["style_scale"] = scales[0] if len(scales) == 1 else scales
    return spec


def differing(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the names, as text, of the options in which two specifications differ; empty if they are equal."""
    return ", ".join(sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)))


def _mask(mask: str | None) -> str | None:
    return mask if not mask or is_label(mask) else _absolute(mask)


def _absolute(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))  # noqa: PTH111  it accepts ~nouser


def run_name(config: RunConfig) -> str:
    """Return CONTENT-STYLE-LAYERS-DIGEST, the same for the same run wherever it is started."""
    return named(config, identity(config))


def named(config: RunConfig, specification: dict[str, Any]) -> str:
    """Return CONTENT-STYLE-LAYERS-DIGEST with the digest of a specification."""
    words = (picture_name(config.content), picture_name(config.style), config.layers.name)
    return folder_name(words, specification)


def folder_name(words: Iterable[str], specification: dict[str, Any]) -> str:
    """Return words and the digest of a specification, joined by hyphens, as the name of a folder.

    The words are cut to 40 characters each and `LONGEST_NAME` bytes together: a file name has at most 255 bytes.
    """
    digest = hashlib.sha256(json.dumps(specification, sort_keys=True).encode()).hexdigest()[:8]
    joined = "-".join(re.sub(r"[^\w.]+", "_", word)[:40] for word in words)
    return f"{joined.encode()[:LONGEST_NAME].decode(errors='ignore')}-{digest}"
