"""What makes two runs the same run, and the name that follows from it."""

import hashlib
import json
import re
from typing import Any

from src.common.files import expanded
from src.config.schema import RunConfig, picture_name, plain

# What a run is does not depend on these: where it runs, what watches it, how often, what it is made for.
NON_IDENTITY_FIELDS: tuple[str, ...] = ("logger", "trainer", "mirror", "resume", "log_every", "checkpoint_every")
NON_IDENTITY_FIELDS += ("max_megapixels", "score", "study", "trial")
_DESCRIPTION = ("title", "artist", "year", "licence")


def identity(config: RunConfig) -> dict[str, Any]:
    """Return what makes two runs the same run: the plain configuration less circumstances and descriptions."""
    spec = {key: value for key, value in plain(config).items() if key not in NON_IDENTITY_FIELDS}
    for kind in ("content", "style"):
        # the address of a pinned file says nothing more
        silent = _DESCRIPTION if spec[kind]["sha256"] is None else (*_DESCRIPTION, "url")
        spec[kind] = {key: value for key, value in spec[kind].items() if key not in silent}
    for kind in ("content", "style", "init"):
        if spec[kind]["path"]:
            spec[kind]["path"] = str(expanded(spec[kind]["path"]).resolve())
    return spec


def run_name(config: RunConfig) -> str:
    """Return content-style-layers-digest: readable, and the same for the same run wherever it is started."""
    return named(config, identity(config))


def named(config: RunConfig, specification: dict[str, Any]) -> str:
    """Return a name for what has a specification: readable, and the same for the same one."""
    digest = hashlib.sha256(json.dumps(specification, sort_keys=True).encode()).hexdigest()[:8]
    words = (picture_name(config.content), picture_name(config.style), config.layers.name)
    readable = "-".join(re.sub(r"[^\w.]+", "_", word)[:40] for word in words)
    return f"{readable}-{digest}"
