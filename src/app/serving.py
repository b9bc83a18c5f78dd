"""The web server of the page: its addresses, who may ask, and what each answer holds."""

import asyncio
import errno
import hashlib
import ipaddress
import json
import logging
import secrets
import socket
import sys
import threading
import urllib.parse
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.app import choices
from src.app.addresses import TYPES, Addresses, secret_of, version_of
from src.app.jobs import RunQueue
from src.app.runs import Runs, title
from src.app.sketches import Sketches
from src.app.uploads import KINDS, MAX_BYTES, TooLarge, Upload, Uploads
from src.common.errors import InputError, InUse
from src.common.files import sole_writer
from src.common.tables import plain_text
from src.config.grammar import override_value
from src.config.options import options_of
from src.config.schema import RunConfig, result_file
from src.config.validation import CHOICES
from src.data.sources import find_picture
from src.tracking import record as records

HERE = Path(__file__).resolve().parent
MOST_JSON = 65536  # bytes of a request that is no upload
THUMB_EDGE = 240  # px, of the pictures to choose from
MASK_EDGE = 1024  # px, of the picture that a mask is painted on
PREVIEWS = 50  # of a run
FOREVER = "private, max-age=31536000, immutable"
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Refuse requests from pages of other sites and from other machines.

    A request must name the server by an IP address, by localhost, or by this machine's name: a page of another site
    whose name has been made to lead here (DNS rebinding) is refused. One that changes something must come from the
    page itself.

    Args:
        app: answers what passes.
        others: whether the server listens for other machines.
    """

    def __init__(self, app: ASGIApp, others: bool) -> None:
        self.app, self.others = app, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the headers of every answer, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(each for each in added if each[0] not in given)]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host):
            known = f"by an IP address or the name {socket.gethostname().lower()}" if self.others else "as localhost"
            refusal = PlainTextResponse(f"open this page {known}", 421)
        elif scope["method"] not in ("GET", "HEAD") and origin is not None and origin != f"http://{host}":
            refusal = PlainTextResponse("cross-origin request refused", 403)
        else:
            await self.app(scope, receive, with_headers)
            return
        await refusal(scope, receive, with_headers)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urllib.parse.urlsplit(f"//{host}").hostname or ""
        except ValueError:  # brackets that do not match
            return False
        if name == "localhost" or (self.others and name == socket.gethostname().lower()):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.others or address.is_loopback


class _Static(StaticFiles):
    """Scripts, the style sheet and the icon, of which a browser asks each time whether they have changed."""

    def file_response(self, *args: Any, **more: Any) -> Response:
        answer = super().file_response(*args, **more)
        answer.headers["cache-control"] = "no-cache"
        return answer


class Site:
    """What the server answers from: uploads, runs and the queue of one folder."""

    def __init__(self, folder: Path, others: bool = False) -> None:
        self.folder = folder = folder.absolute()
        self.addresses = Addresses(secret_of(folder))
        # Cookies of all ports of a machine share one jar.
        self.cookie = f"style-transfer-{self.addresses.token('cookie')[:8]}"
        self.uploads = Uploads(folder / "uploads")
        (folder / "queue").mkdir(parents=True, exist_ok=True)
        self.queue = RunQueue(folder / "queue")
        self.runs = Runs(folder, self.addresses)
        self.sketches = Sketches()
        self._composing = threading.Lock()  # Hydra keeps its state in the process
        self._commands: dict[tuple[Path, str], str | None] = {}
        self._hosts = Middleware(Guard, others=others)

    def app(self) -> Starlette:
        """Return the application."""

        @asynccontextmanager
        async def alive(_: Starlette) -> AsyncIterator[None]:
            self.queue.start()
            yield
            self.queue.close()

        routes = [
            Route("/", self.page),
            Mount("/static", _Static(directory=HERE / "page")),
            Route("/pictures/{token}/{version}", self.picture),
            Route("/api/form", self.form),
            Route("/api/state", self.state),
            Route("/api/uploads", self.upload, methods=["POST"]),
            Route("/api/sketch", self.sketch, methods=["POST"]),
            Route("/api/runs", self.start, methods=["POST"]),
            Route("/api/runs/{run}/stop", self.stop, methods=["POST"]),
            Route("/api/runs/{run}/resume", self.resume, methods=["POST"]),
            Route("/api/runs/{run}/command", self.command),
            Route("/api/runs/{run}/file", self.download),
        ]
        handlers: dict[Any, Callable[..., Any]] = {InputError: _refused, TooLarge: _too_large}
        return Starlette(routes=routes, middleware=[self._hosts], exception_handlers=handlers, lifespan=alive)

    def session(self, request: Request) -> str:
        """Return the session of a client; an empty text for one without."""
        return request.cookies.get(self.cookie, "")

    async def page(self, request: Request) -> Response:
        """Answer with the page, and with a session for a new client."""
        text = (HERE / "page.html").read_text()
        answer = Response(text, media_type="text/html", headers={"cache-control": "no-cache"})
        if not self.session(request):
            session = secrets.token_urlsafe(32)
            answer.set_cookie(self.cookie, session, max_age=31536000, httponly=True, samesite="lax")
        return answer

    def picture(self, request: Request) -> Response:
        """Answer with the picture of an address; its version is only there for the browser's cache."""
        token, asked = request.path_params["token"], request.path_params["version"]
        entry = self.addresses.find(token, self.session(request))
        version = version_of(entry.path) if entry else None
        if entry is None or version is None:
            return PlainTextResponse("not found", 404)
        headers = {"cache-control": FOREVER if version == asked else "no-store"}
        if entry.edge is None:
            return Response(entry.path.read_bytes(), media_type=TYPES[entry.path.suffix], headers=headers)
        return Response(self.addresses.copy(token, entry, version), media_type="image/jpeg", headers=headers)

    def form(self, request: Request) -> Response:
        """Answer with what the form offers: pictures, limits, first values, and the options' help."""
        session = self.session(request)
        texts = {name: field.metadata["help"] for name, field in options_of(RunConfig)}
        pictures = {
            kind: [
                {"value": name, "name": name.replace("_", " "), "picture": self.addresses.of(path, THUMB_EDGE),
                 "large": self.addresses.of(path, MASK_EDGE)}
                for name, path in choices.known(kind).items()
            ]
            for kind in ("content", "style")
        }  # fmt: skip
        return _json(
            {
                "pictures": pictures,
                "uploads": [self._uploaded(session, each) for each in self.uploads.of(session)],
                "defaults": choices.defaults(),
                "numbers": {name: option for name, (option, *_) in choices.NUMBERS.items()},
                "colors": CHOICES["color"],
                "sketched": self.sketches.styles,
                "styles": choices.MOST_STYLES,
                "help": {name: texts[name] for name in ("loss.beta", "edge", "steps", "color", "content.mask",
                                                        "keep_unmasked", "blend.styles", "blend.weights")},
                "most_bytes": MAX_BYTES,
            }
        )  # fmt: skip

    def state(self, request: Request) -> Response:
        """Answer with the queue, the run that the client looks at, and the gallery where it has changed."""
        jobs = self.queue.jobs()
        cards = self.runs.cards(jobs)
        gallery = hashlib.sha256(json.dumps(cards).encode()).hexdigest()[:16]
        queue = [
            {
                "id": self.runs.token(Path(job.folder)),
                "title": job.title,
                "state": job.state,
                "error": job.error,
                "stopping": job.stopped,
            }
            for job in jobs
        ]
        folder = self.runs.folder_of(request.query_params.get("run", ""))
        return _json(
            {
                "gallery": gallery,
                "runs": None if request.query_params.get("seen") == gallery else cards,
                "queue": queue,
                "run": self.runs.detail(folder, jobs) if folder else None,
            }
        )

    async def upload(self, request: Request) -> Response:
        """Take a picture; the header x-name has what the client calls it, x-kind what it is for."""
        session = self.session(request)
        if not session:
            raise InputError("load the page first: it gives the browser a session")
        name = plain_text(urllib.parse.unquote(request.headers.get("x-name", "picture")))[:120]
        if int(request.headers.get("content-length") or 0) > MAX_BYTES:
            raise TooLarge(f"{name} is larger than {MAX_BYTES >> 20} MB, the most that this page takes")
        try:
            found = await self.uploads.receive(session, name, request.stream(), request.headers.get("x-kind", KINDS[0]))
        except ClientDisconnect:
            return PlainTextResponse("", 400)
        return _json(await run_in_threadpool(self._uploaded, session, found))

    def _uploaded(self, session: str, upload: Upload) -> dict[str, Any]:
        path = self.uploads.path(upload)
        return {
            "value": choices.UPLOADED + upload.identifier,
            "name": upload.name,
            "kind": upload.kind,
            "picture": self.addresses.of(path, THUMB_EDGE, session),
            "large": self.addresses.of(path, MASK_EDGE, session),
        }

    async def sketch(self, request: Request) -> Response:
        """Answer with a quick picture of what is chosen; with nothing where the network does not have the styles."""
        form = await _body(request)
        data = await run_in_threadpool(self._sketch, form, self.session(request))
        if data is None:
            return Response(status_code=204)
        return Response(data, media_type="image/jpeg", headers={"cache-control": "no-store"})

    def _sketch(self, form: dict[str, Any], session: str) -> bytes | None:
        content, shares = choices.sketched(form, lambda each: self.uploads.path(self.uploads.find(session, each)))
        return self.sketches.make(content, shares, int(form.get("edge") or choices.EDGE))

    async def start(self, request: Request) -> Response:
        """Put a run into the queue, or name the one that has these very options already."""
        form = await _body(request)
        return _json(await run_in_threadpool(self._start, form, self.session(request)))

    def _start(self, form: dict[str, Any], session: str) -> dict[str, Any]:
        def upload(identifier: str) -> Path:
            return self.uploads.path(self.uploads.find(session, identifier))

        found = choices.overrides(form, upload)
        from src.config.composition import compose
        from src.run import run_folder

        with self._composing:
            config = compose(found)
            folder = self.folder / run_folder(config)
        record = self.runs.record(folder)
        if record is None or record.status != "finished":
            extra = [*_watched(config.steps), "logger=csv", f"hydra.sweep.dir={override_value(str(self.folder))}"]
            content = find_picture("content", config.content, download=False).path
            self.queue.add(folder, [*found, *extra], title(config), config.steps, content)
        return {"run": self.runs.token(folder)}

    def stop(self, request: Request) -> Response:
        """Ask a run to save and end, take it out of the queue, or forget one that failed before it began."""
        if not self.queue.stop(self._folder(request)):
            raise InputError(
                "this run is not in the queue: it has ended, or was started elsewhere and is stopped there"
            )
        return _json({})

    def resume(self, request: Request) -> Response:
        """Put the rest of a run into the queue."""
        folder = self._folder(request)
        record = self.runs.record(folder)
        if record is None:
            raise InputError("there is nothing to resume")
        arguments = [f"resume={folder}", *_watched(record.options.steps)]
        self.queue.add(folder, arguments, title(record.options), record.options.steps)
        return _json({"run": self.runs.token(folder)})

    def command(self, request: Request) -> Response:
        """Answer with the command that makes a run's picture again."""
        from src.report.reproduction import command

        folder = self._folder(request)
        record, key = self.runs.record(folder), (folder, version_of(folder / records.FILE) or "")
        if record is not None and key not in self._commands:
            with self._composing:
                self._commands[key] = command(record)
        return _json({"command": self._commands.get(key)})

    def download(self, request: Request) -> Response:
        """Answer with the result of a run as a file to keep."""
        folder = self._folder(request)
        record = self.runs.record(folder)
        path = folder / result_file(record.options) if record else None
        if path is None or not path.is_file():
            raise InputError("this run has no picture yet")
        return FileResponse(path, filename=f"{folder.name}{path.suffix}", headers={"cache-control": "no-store"})

    def _folder(self, request: Request) -> Path:
        folder = self.runs.folder_of(request.path_params["run"])
        if folder is None:
            raise InputError("that run is not here any more")
        return folder


def _watched(steps: int) -> list[str]:
    """Return the options with which a run shows how far it is; they do not change it."""
    every = max(1, steps // PREVIEWS)
    return [f"preview_every={every}", f"log_every={every}"]


def _json(value: Any) -> Response:
    return JSONResponse(value, headers={"cache-control": "no-store"})


def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": plain_text(error)}, 400, headers={"cache-control": "no-store"})


def _too_large(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": plain_text(error)}, 413, headers={"cache-control": "no-store", "connection": "close"})


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request.

    Raises:
        InputError: it is none, or too long.
    """
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_JSON:
            raise InputError("the request is too long")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError("the request is not a JSON object")
    return found


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        InputError: the port is in use, or the address is none of this machine.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: a port is between 0 and 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except UnicodeError:
        raise InputError(f"--host {host}: not a host name") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} is in use; choose another with --port N") from None
        raise InputError(f"cannot listen on {host} port {port}: {error.strerror}") from None


def serve(folder: Path, host: str, port: int, show: bool) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        folder: of the runs, uploads and the queue.
        host: address to listen on.
        port: 0 is any that is free.
        show: open the page in a browser.

    Raises:
        InputError: the folder cannot be written to or has a server, or it cannot listen there.
    """
    logging.basicConfig(format="%(message)s")
    with listen(host, port) as listening:
        found, port = listening.getsockname()[:2]
        others = not ipaddress.ip_address(found).is_loopback
        try:
            with sole_writer(folder):
                site = Site(folder, others)
                shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(found, found)
                address = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
                if others:
                    print(
                        "warning: whoever reaches this address can use this machine and see all runs; there is no "
                        "password and no encryption",
                        file=sys.stderr,
                    )
                print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
                if show:
                    threading.Timer(0.5, webbrowser.open, [address]).start()
                config = uvicorn.Config(
                    site.app(), log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=2
                )
                asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))
        except InUse:
            raise InputError(
                f"another server is already using {folder}; open its page, or choose another --folder"
            ) from None
