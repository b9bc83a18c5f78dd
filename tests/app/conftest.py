"""A server of the page in this process, and a client that asks as a browser does."""

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra app is not installed")
pytest.importorskip("uvicorn", reason="the extra app is not installed")

import uvicorn

from src.app.serving import Site, listen


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass
class Client:
    """A client of the server, with the cookie of its session."""

    port: int
    cookie: str = ""

    def ask(self, method: str, target: str, body: bytes | dict | None = None, **headers: str) -> Answer:
        """Send a request as it is; `host` and others may be replaced."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, data, {"Cookie": self.cookie, **given})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, target: str, **headers: str) -> Answer:
        """Ask for an address."""
        return self.ask("GET", target, **headers)

    def post(self, target: str, body: bytes | dict | None = None, **headers: str) -> Answer:
        """Send something."""
        return self.ask("POST", target, body, **headers)

    def load(self) -> "Client":
        """Load the page, which gives the client a session."""
        self.cookie = self.get("/").headers["set-cookie"].partition(";")[0]
        return self


@dataclass
class Served:
    """A server, its port, and the folder that it serves."""

    site: Site
    port: int
    folder: Path

    def client(self) -> Client:
        """Return a new client that has loaded the page."""
        return Client(self.port).load()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server whose queue starts nothing."""
    folder = tmp_path / "app"
    folder.mkdir()
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        site = Site(folder)
        site.queue.start = lambda: None  # type: ignore[method-assign]
        server = uvicorn.Server(uvicorn.Config(site.app(), log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Served(site, port, folder)
        server.should_exit = True
        thread.join(20)
