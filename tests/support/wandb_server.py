"""A loopback stand-in for the W&B server, for tests with the real `wandb` and no network.

It answers the few GraphQL queries of `wandb.init(mode="online")`, `run.log`, `run.finish()` and `wandb sync`, keeps
what was sent, and can give faulty answers (`fail_with`, `nonsense`, `drip`) or die (`kill`).

    with WandbServer() as server:
        subprocess.run([...], env={**os.environ, **server.environment()})
        assert server.history_rows("abc")[0]["loss"] == 1.0

Artifacts (hence `wandb.Table`) need more GraphQL than this.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

HISTORY = "wandb-history.jsonl"


class _Run:
    """What the server received of one run."""

    def __init__(self) -> None:
        self.lines: dict[str, dict[int, str]] = {}  # file -> offset -> line, as the real server keeps them
        self.uploads: dict[str, bytes] = {}
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.exit_code: int | None = None
        self.fields: dict[str, Any] = {}  # displayName, groupName, tags ... of the last upsert

    def text_lines(self, file: str) -> list[str]:
        return [line for _, line in sorted(self.lines.get(file, {}).items())]


class _Server(ThreadingHTTPServer):
    """Track open connections, so that `kill` can close them."""

    daemon_threads = True
    owner: WandbServer

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing when a connection breaks."""


class _Dripping:
    """Write to a socket one byte at a time, with a pause after each."""

    def __init__(self, file: Any, pause: float) -> None:
        self.file, self.pause = file, pause

    def write(self, data: bytes) -> None:
        for byte in data:
            self.file.write(bytes([byte]))
            time.sleep(self.pause)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _operation_name(query: str) -> str:
    """Return the name of a GraphQL operation in lower case."""
    return query.split("(")[0].split("{")[0].split()[-1].lower()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _handle(self) -> None:
        body = self._body()  # read in any case: the connection is kept alive
        asked = self.path
        if asked.startswith("/graphql"):
            asked += " " + _operation_name(json.loads(body)["query"])
        owner = self.server.owner
        faulty = owner.fail_on in asked
        status = owner.fail_with if owner.fail_with and faulty else 200
        data = b'{"error": "made to fail"}'
        with owner.lock:
            owner.requests.append(f"{self.command} {asked}")
            if faulty and owner.nonsense is not None:
                data = owner.nonsense
            elif status == 200:
                data = json.dumps(owner.answer(self.command, self.path, body)).encode()
        if faulty and owner.drip:
            self.wfile = _Dripping(self.wfile, owner.drip)
            self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = _handle


class WandbServer:
    """The stand-in server: used with `with`, or by `start` and `kill`."""

    def __init__(
        self, fail_with: int | None = None, fail_on: str = "", nonsense: bytes | None = None, drip: float = 0.0
    ) -> None:
        """Prepare a server and, if wanted, its faults; all may be changed at any time.

        Args:
            fail_with: HTTP status of the faulty answers. wandb retries for long after a 500, but not after a 403.
            fail_on: answers are faulty where the request holds this: a path, for GraphQL followed by a blank and the
                operation. "/graphql upsertbucket" starts a run, "file_stream" takes rows, "/upload/" takes files.
            nonsense: body of the faulty answers.
            drip: seconds between two bytes of the faulty answers, headers included.
        """
        self.fail_with, self.fail_on, self.nonsense, self.drip = fail_with, fail_on, nonsense, drip
        self.lock = threading.Lock()
        self.requests: list[str] = []
        self.runs: dict[str, _Run] = {}
        self.views: dict[str, dict[str, Any]] = {}  # reports and workspace views, by id
        self.sweeps: dict[str, str] = {}  # id -> its configuration, YAML
        self.commands: list[dict[str, Any]] = []  # for the agents of sweeps, one each time they ask
        self._server = _Server()  # bound here, so the address is known before the start
        self._server.owner = self
        self._thread: threading.Thread | None = None
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> WandbServer:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def kill(self) -> None:
        """Close the port and drop every open connection, as a dying process does. May be called twice."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes its thread, which then closes it

    def __enter__(self) -> WandbServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def environment(self) -> dict[str, str]:
        """Return the variables that make `wandb` use this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0" * 40}

    # What arrived

    def history_rows(self, run_id: str) -> list[dict[str, Any]]:
        """Return the rows of `run.log`, by the line offset that the client gave: a line sent twice counts once."""
        with self.lock:
            return [json.loads(line) for line in self.run(run_id).text_lines(HISTORY)]

    def files(self, run_id: str) -> list[str]:
        """Return the names of the uploaded files (media, config.yaml, output.log ...)."""
        with self.lock:
            return sorted(self.run(run_id).uploads)

    def run(self, run_id: str) -> _Run:
        return self.runs.setdefault(run_id, _Run())

    # Answers (called with the lock held)

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """Return the JSON answer to one request."""
        if method == "PUT":
            _, _, run_id, name = path.split("/", 3)  # the address given by _create_run_files
            self.run(unquote(run_id)).uploads[unquote(name)] = body
            return {}
        if path.startswith("/graphql"):
            request = json.loads(body)
            return {"data": self._graphql(request["query"], request.get("variables") or {})}
        if stream := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
            self._file_stream(self.run(unquote(stream[1])), json.loads(body))
            return {"exitcode": None, "limits": {}}
        return {}

    def _file_stream(self, run: _Run, sent: dict[str, Any]) -> None:
        for file, chunk in (sent.get("files") or {}).items():
            lines = run.lines.setdefault(file, {})
            for number, line in enumerate(chunk["content"], start=chunk.get("offset") or 0):
                lines[number] = line
            if file == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        name = _operation_name(query)
        if name == "upsertbucket":
            return self._upsert_bucket(variables)
        if name == "createrunfiles":
            return self._create_run_files(variables)
        if name.startswith("upsertview"):
            return self._upsert_view(variables)
        if name == "projectviews":
            kept = [view for view in self.views.values() if view["type"] == variables.get("viewType", "runs")]
            page = {"endCursor": None, "hasNextPage": False}
            edges = [{"node": view, "cursor": view["id"]} for view in kept]
            return {"project": {"allViews": {"edges": edges, "pageInfo": page}}}
        if name == "getprojects":
            page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
            return {"models": {"pageInfo": page, "edges": []}}
        if name == "upsertsweep":
            self.sweeps[sweep := f"sweep{len(self.sweeps)}"] = variables["config"]
            project = {"id": "p", "name": variables["projectName"], "entity": {"id": "e", "name": "me"}}
            return {"upsertSweep": {"sweep": {"name": sweep, "project": project}, "configValidationWarnings": []}}
        if name == "sweepwithruns":
            sweep = {"id": "s", "state": "RUNNING", "config": self.sweeps[variables["sweep"]], "runs": {"edges": []}}
            return {"project": {"sweep": sweep}}
        if name == "createagent":
            return {"createAgent": {"agent": {"id": "a"}}}
        if name == "heartbeat":
            told = [self.commands.pop(0)] if self.commands and not json.loads(variables["runState"]) else []
            return {"agentHeartbeat": {"agent": {"id": "a"}, "commands": json.dumps(told)}}
        if name == "runresumestatus":
            return self._resume_status(variables)
        if "viewer" in query:
            nothing: dict[str, Any] = {"edges": []}
            viewer = {
                "id": "u",
                "username": "me",
                "email": "a@b.c",
                "entity": "me",
                "flags": "{}",
                "admin": False,
            }
            return {"viewer": {**viewer, "teams": nothing, "apiKeys": nothing}}
        if "serverInfo" in query:
            versions = {"max_cli_version": "9.9.9"}
            return {"serverInfo": {"cliVersionInfo": versions, "latestLocalVersionInfo": None, "features": []}}
        if "__type" in query:  # queries of the schema: null makes the client use its oldest API
            return dict.fromkeys(re.findall(r"(\w+):\s*__type", query), None) | {"__type": None}
        return {}

    def _upsert_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        key = variables.get("id") or f"view{len(self.views)}"
        inserted = key not in self.views
        named = {field: variables.get(field) or "" for field in ("name", "displayName", "description", "type", "spec")}
        project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        self.views[key] = {"id": key, **named, "project": project, "user": None, "createdAt": None, "updatedAt": None}
        return {"upsertView": {"view": self.views[key], "inserted": inserted}}

    def _upsert_bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        run_id = variables.get("name") or variables.get("id") or "unnamed"
        new = run_id not in self.runs
        run = self.run(run_id)
        run.config.update(json.loads(variables.get("config") or "{}"))
        run.fields.update({key: value for key, value in variables.items() if value is not None})
        project = {"id": "p", "name": variables.get("project") or "none", "entity": {"id": "e", "name": "me"}}
        bucket = {
            "id": f"id_{run_id}",
            "name": run_id,
            "displayName": run.fields.get("displayName") or run_id,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": None,
            "project": project,
            "historyLineCount": len(run.lines.get(HISTORY, {})),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def _create_run_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        run_id = variables["run"]
        names = variables.get("files") or []
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run_id}/{name}"} for name in names]
        return {"createRunFiles": {"runID": f"id_{run_id}", "uploadHeaders": [], "files": files}}

    def _resume_status(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(str(variables.get("name")))
        if run is None:
            return {"model": {"bucket": None}}
        bucket = {
            "name": variables["name"],
            "historyLineCount": len(run.lines.get(HISTORY, {})),
            "eventsLineCount": len(run.lines.get("wandb-events.jsonl", {})),
            "logLineCount": len(run.lines.get("output.log", {})),
            "historyTail": json.dumps(run.text_lines(HISTORY)[-1:]),
            "eventsTail": json.dumps(run.text_lines("wandb-events.jsonl")[-1:]),
            "summaryMetrics": json.dumps(run.summary),
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "tags": run.fields.get("tags") or [],
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": "me"}, "bucket": bucket}}
