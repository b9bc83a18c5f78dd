"""Values in the grammar of Hydra's overrides."""

import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
_OTHERWISE = re.compile(r"null|true|false|yes|no|on|off|nan|inf", re.IGNORECASE)


def override_value(value: Any) -> str:
    """Return a value as it stands behind OPTION= in an override; texts are quoted where Hydra needs it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(override_value, value))}]"
    if not isinstance(value, str):
        return repr(value)
    if _PLAIN.fullmatch(value) and not _OTHERWISE.fullmatch(value):
        return value
    from hydra.core.override_parser.types import Quote, QuotedString

    return str(QuotedString(value, Quote.double).with_quotes())
