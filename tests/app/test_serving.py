"""The server's answers: who may ask, what no request reaches, how pictures are kept by browsers."""

import io
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from src.app.__main__ import main
from src.app.choices import defaults
from src.app.serving import HEADERS, MOST_JSON, Guard, Site, listen
from src.app.uploads import MAX_BYTES
from src.common.files import sole_writer
from src.config.composition import compose
from src.config.identity import identity
from src.report.reproduction import overrides
from tests.app.conftest import Client, Served
from tests.app.test_uploads import picture
from tests.report.runs import write_image, write_run

FORM: dict[str, Any] = {"content": "cat", "style": "swell", **defaults()}


def send(client: Client, data: bytes | None = None, name: str = "dog.png") -> dict[str, Any]:
    answer = client.post("/api/uploads", data or picture(), x_name=name)
    assert answer.status == 200, answer.body
    return answer.json  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "192.168.1.2", "", "["]
)
def test_a_request_by_another_name_is_refused(served: Served, host: str) -> None:
    for target in ("/", "/api/state", "/static/app.js"):
        assert Client(served.port).get(target, host=host.format(port=served.port)).status in (400, 421)


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "127.0.0.2"])
def test_names_of_this_machine_are_answered(served: Served, host: str) -> None:
    assert Client(served.port).get("/", host=host.format(port=served.port)).status == 200


def test_a_server_for_others_takes_addresses_but_no_foreign_names() -> None:
    guard = Guard(None, others=True)  # type: ignore[arg-type]
    assert guard._is_ours("192.168.1.2:8700") and guard._is_ours("localhost") and not guard._is_ours("evil.example")


def test_another_site_can_change_nothing(served: Served) -> None:
    client = served.client()
    for origin in (
        "http://evil.example",
        "null",
        f"http://localhost:{served.port}",
        f"https://127.0.0.1:{served.port}",
    ):
        for target in ("/api/runs", "/api/uploads", f"/api/runs/{'0' * 32}/stop"):
            assert client.post(target, FORM, origin=origin).status == 403
    assert not served.site.queue.jobs() and not list(served.folder.glob("uploads/*"))
    assert client.post("/api/runs", FORM, origin=f"http://127.0.0.1:{served.port}").status == 200


def test_every_answer_has_the_headers_that_protect_it(served: Served) -> None:
    client = served.client()
    for answer in (
        client.get("/"),
        client.get("/api/state"),
        client.get("/nothing"),
        client.get("/", host="evil.example"),
    ):
        assert answer.headers.items() >= HEADERS.items()
    given = Client(served.port).get("/").headers["set-cookie"].lower()
    assert "httponly" in given and "samesite=lax" in given
    assert "set-cookie" not in client.get("/").headers, "the session is kept"


@pytest.mark.parametrize(
    "target",
    [
        "/static/../serving.py", "/static/..%2fserving.py", "/static/%2e%2e/serving.py", "/static//etc/passwd",
        "/pictures/%2fetc%2fpasswd/1", "/pictures/../../etc/passwd", "/pictures/" + "0" * 32 + "/1",
        "/static/page.html", "/uploads", "/queue/000001.json", "/secret", "/api/runs/..%2f..%2fetc/file",
        "/api/runs/" + "0" * 32 + "/file",
    ],
)  # fmt: skip
def test_no_address_leads_to_a_file_that_was_not_given_out(served: Served, target: str) -> None:
    answer = served.client().get(target)
    assert answer.status in (400, 404) and b"import" not in answer.body and b"root:" not in answer.body


def test_scripts_are_sent_again_only_where_they_have_changed(served: Served) -> None:
    client = served.client()
    for name, kind in {"app.js": "javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}.items():
        first = client.get(f"/static/{name}")
        assert first.status == 200 and kind in first.headers["content-type"]
        again = client.get(f"/static/{name}", if_none_match=first.headers["etag"])
        assert again.status == 304 and not again.body
        for answer in (first, again):
            assert answer.headers["cache-control"] == "no-cache" and answer.headers.items() >= HEADERS.items()


def test_pictures_are_sent_by_version(served: Served) -> None:
    folder = served.folder / "a"
    write_run(folder)
    write_image(folder / "image.png")
    client = served.client()
    (card,) = client.get("/api/state").json["runs"]
    small = client.get(card["picture"])
    assert small.headers["content-type"] == "image/jpeg" and "immutable" in small.headers["cache-control"]
    address = client.get(f"/api/state?run={card['id']}").json["run"]["picture"]
    assert client.get(address).body == (folder / "image.png").read_bytes()
    write_image(folder / "image.png", size=(128, 96))
    stale = client.get(address)
    assert stale.headers["cache-control"] == "no-store" and stale.body == (folder / "image.png").read_bytes()
    again = client.get(f"/api/state?run={card['id']}").json["run"]["picture"]
    assert again != address and client.get(again).body == stale.body
    kept = client.get(f"/api/runs/{card['id']}/file").headers["content-disposition"]
    assert kept == 'attachment; filename="a.png"'


def test_an_upload_is_for_its_owner_alone(served: Served) -> None:
    mine, other = served.client(), served.client()
    assert mine.cookie != other.cookie
    sent = send(mine)
    assert mine.get(sent["picture"]).status == 200
    assert Image.open(io.BytesIO(mine.get(sent["large"]).body)).size == (32, 24)
    for address in (sent["picture"], sent["large"]):
        assert other.get(address).status == 404 and Client(served.port).get(address).status == 404
    assert other.get("/api/form").json["uploads"] == []
    stolen = other.post("/api/runs", {**FORM, "content": sent["value"]})
    assert stolen.status == 400 and "send it again" in stolen.json["error"]
    assert mine.get("/api/form").json["uploads"] == [sent]
    assert Client(served.port).post("/api/uploads", picture()).status == 400, "a client without a session"


def test_a_run_of_another_program_is_not_stopped(served: Served) -> None:
    write_run(served.folder / "a", status="running")
    client = served.client()
    (card,) = client.get("/api/state").json["runs"]
    answer = client.post(f"/api/runs/{card['id']}/stop", {})
    assert answer.status == 400 and "it has ended, or was started elsewhere" in answer.body.decode()


def test_what_is_too_large_is_refused_before_it_is_read(served: Served) -> None:
    client = served.client()
    told = client.post("/api/uploads", b"x", content_length=str(MAX_BYTES + 1), x_name="a%20%3Cb%3E.png")
    assert told.status == 413 and told.json["error"] == "a <b>.png is larger than 40 MB, the most that this page takes"
    assert "too long" in client.post("/api/runs", b'{"a": "' + b"x" * MOST_JSON + b'"}').json["error"]
    for body in (b"", b"[]", b"{", b"[" * 60000, b"\xff"):
        assert client.post("/api/runs", body).status == 400
    bad = client.post("/api/uploads", b"<svg/>", x_name="a.svg")
    assert bad.status == 400 and bad.json["error"].startswith("a.svg is not an image of a known format")


def test_a_started_run_has_the_folder_name_and_options_of_the_command(served: Served) -> None:
    client = served.client()
    sent = send(client, name="My dog.png")
    form = {**FORM, "content": sent["value"], "others": [{"style": "dots", "share": 0.25}], "strength": 12, "edge": 96}
    run = client.post("/api/runs", form).json["run"]
    assert client.post("/api/runs", form).json["run"] == run and len(served.site.queue.jobs()) == 1, "once"
    (job,) = served.site.queue.jobs()
    assert Path(job.folder).parent == served.folder and Path(job.folder).name.startswith("My_dog-swell-e-")
    own = [each for each in job.arguments if not each.startswith(("hydra.", "logger=", "log_every=", "preview_every="))]
    config = compose(own)
    assert config.content.path and Path(config.content.path).parts[-3] == "uploads"
    detail = client.get(f"/api/state?run={run}").json["run"]
    assert (detail["status"], detail["place"], detail["title"]) == ("waiting", 1, "My dog × swell + dots")
    assert client.get(detail["content"]).headers["content-type"] == "image/jpeg", "shown while it waits"
    record = write_run(Path(job.folder), config=vars_of(config), status="interrupted")
    told = client.get(f"/api/runs/{run}/command").json["command"]
    assert (
        told.startswith("python -m src.train content=file style=swell ")
        and f"/{Path(config.content.path).name}" in told
    )
    assert "preview" not in told and "logger" not in told
    assert identity(compose(overrides(record))) == identity(config)
    assert client.post(f"/api/runs/{run}/stop").status == 200 and not served.site.queue.jobs()
    assert client.post(f"/api/runs/{run}/resume").json["run"] == run
    assert served.site.queue.jobs()[0].arguments[0] == f"resume={job.folder}"


def vars_of(config: Any) -> dict[str, Any]:
    from src.config.schema import plain

    return plain(config)


def test_two_hundred_runs_are_listed_in_under_two_seconds(served: Served) -> None:
    """Read for the first time, and once more when nothing has changed."""
    record = write_run(served.folder / "run-000", captures=(), started="2026-11-27T08:00:00+00:00")
    for number in range(1, 200):
        (served.folder / f"run-{number:03}").mkdir()
        record.write(served.folder / f"run-{number:03}")
    client = served.client()
    begun = time.process_time()
    first = client.get("/api/state").json
    middle = time.process_time()
    second = client.get(f"/api/state?seen={first['gallery']}").json
    end = time.process_time()
    print(f"{middle - begun:.2f} s, then {end - middle:.2f} s of this process")
    assert len(first["runs"]) == 200 and second["runs"] is None
    assert middle - begun < 2, "processor time, which other work on the machine does not change"


def test_the_command_reports_bad_input_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*arguments: str, folder: Path = tmp_path) -> str:
        assert main(["--no-open", "--port", "0", "--folder", str(folder), *arguments]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1
        return said.removeprefix("error: ")

    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert told("--port", port) == f"port {port} is in use; choose another with --port N\n"
    with sole_writer(tmp_path):
        assert told().startswith(f"another server is already using {tmp_path}")
    (tmp_path / "file").write_text("")
    assert told(folder=tmp_path / "file").startswith("cannot write to")
    assert told("--host", "192.0.2.1").startswith("cannot listen on 192.0.2.1")
    assert told("--host", "a" * 64) == f"--host {'a' * 64}: not a host name\n"
    assert told("--port", "70000").startswith("--port 70000")


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "src.app.serving")
    assert main(["--no-open", "--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "error: the page needs packages that are not installed: pip install uvicorn (the extra app)\n"
    )


def test_the_session_is_that_of_the_folder_whatever_the_port(tmp_path: Path) -> None:
    assert Site(tmp_path / "a").cookie == Site(tmp_path / "a").cookie != Site(tmp_path / "b").cookie
    assert (tmp_path / "a/secret").stat().st_mode & 0o077 == 0
