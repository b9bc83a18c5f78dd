"""A page on this machine to make style transfers and watch them: `python -m src.app [--port N] [--folder DIR]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from src.common.errors import InputError
from src.common.packages import require
from src.common.tables import plain_text

PORT = 8700


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; return 0, 2 for bad input, or 130 for Ctrl-C."""
    text = "Serve a page on this machine to make style transfers and watch them. "
    text += "Ctrl-C ends it; a run in progress continues."
    parser = argparse.ArgumentParser("python -m src.app", description=text)
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help="default: %(default)s; 0: any that is free")
    host = (
        "address to listen on (default: %(default)s, reachable by every account on this machine); any other address "
        "exposes the page to the network without a password"
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help=host)
    folder = "where runs, uploads and the queue are; the gallery shows all runs below it (default: %(default)s)"
    parser.add_argument("--folder", type=Path, default=Path("multirun/app"), metavar="DIR", help=folder)
    parser.add_argument(
        "--open", action=argparse.BooleanOptionalAction, default=True, help="open the page in a browser"
    )
    args = parser.parse_args(arguments)
    try:
        require("the page", "app", {name: name for name in ("starlette", "uvicorn", "onnxruntime")})
        from src.app.serving import serve  # slow: it imports the web server

        serve(args.folder, args.host, args.port, args.open)
    except InputError as error:
        print(f"error: {plain_text(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
