"""Decide whether W&B can be used online: mode, API key, and a query that the server must answer.

A server that accepts connections may still answer nonsense, on which wandb's service process can crash, or send a byte
a second, for which wandb would wait.
"""

import json
import netrc
import os
import textwrap
import urllib.parse

from src.common.errors import InputError
from src.config import schema
from src.tracking.deadline import within

ANSWER_SECONDS = 2.0
LONGEST_ANSWER = 1 << 16  # bytes
MODES = {"online": "online", "offline": "offline", "disabled": "disabled", "dryrun": "offline", "run": "online"}


def wandb_mode(options: schema.Logger) -> tuple[str, str]:
    """Return online, offline or disabled and, for offline, the reason.

    Online needs an API key and a server that answers; `mode=online` skips the question to the server.

    Raises:
        InputError: WANDB_MODE or another W&B setting has an invalid value.
    """
    named = os.environ.get("WANDB_MODE")
    if named and named not in MODES:
        raise InputError(f"WANDB_MODE={named} is unknown; set it to online, offline or disabled")
    asked = MODES[named] if named else options.mode
    if asked in ("offline", "disabled"):
        return asked, "as asked"
    import wandb

    try:
        url = str(wandb.setup().settings.base_url)
    except Exception as error:
        raise InputError(f"W&B's settings are invalid: {textwrap.shorten(str(error), 200)}") from error
    host = urllib.parse.urlsplit(url).hostname or ""
    key = _api_key(host)
    if not key:
        return "offline", "no API key is configured"  # online, wandb would ask for one and wait
    problem = _problem(url, key) if asked == "auto" else ""
    return ("offline", f"{host} {problem}") if problem else ("online", "")


def _api_key(host: str) -> str | None:
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    try:
        entry = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return entry[2] if entry else None


def _problem(url: str, key: str) -> str:
    """Ask the server whose key this is; return what is wrong with its answer, or an empty string."""
    import requests

    def ask() -> object:
        with requests.post(
            f"{url}/graphql",
            json={"query": "query Viewer { viewer { id } }"},
            auth=("api", key),
            timeout=ANSWER_SECONDS,
            stream=True,
        ) as answer:
            return json.loads(answer.raw.read(LONGEST_ANSWER, decode_content=True))["data"]["viewer"]

    try:
        viewer = within(ANSWER_SECONDS, ask)
    except (OSError, TimeoutError):  # those of requests are OSErrors
        return f"does not answer within {ANSWER_SECONDS:g} s"
    except Exception:
        return "gives no valid answer"
    if viewer is None:
        return "does not accept the API key"
    return "" if isinstance(viewer, dict) and viewer.get("id") else "gives no valid answer"
