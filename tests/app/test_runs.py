"""What the page shows of runs: their state, time left, curve and pictures."""

from pathlib import Path

import pytest

from src.app import runs
from src.app.addresses import Addresses, secret_of
from src.app.jobs import QueuedRun
from src.app.runs import MOST_POINTS, Runs, seconds_left
from src.common.files import sole_writer
from src.config.schema import Picture, RunConfig
from src.data.sources import sha256_of
from tests.report.runs import write_image, write_run

SECONDS, STEP = "seconds", "step"


def reader(folder: Path) -> Runs:
    return Runs(folder, Addresses(b"secret"))


def test_the_state_of_a_run_is_that_of_its_record_its_process_and_its_job(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "finished", started="2026-11-27T08:00:00+00:00")
    write_run(tmp_path / "runs" / "killed", status="running", started="2026-11-27T09:00:00+00:00")
    write_run(tmp_path / "runs" / "failed", captures=(), status="failed", error="edge=12\nor more")
    write_run(tmp_path / "runs" / "again", status="interrupted")
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "record.json").write_text("{")
    write_run(tmp_path / "runs" / "newer", options={"format": "avif"})  # of a version that has this format
    runs = reader(tmp_path / "runs")
    job = QueuedRun(1, str(tmp_path / "runs" / "again"), [], "cat × dots", 9)
    cards = {card["id"]: card for card in runs.cards([job])}
    named = {runs.folder_of(token).name: card for token, card in cards.items()}  # type: ignore[union-attr]
    assert {name: card["status"] for name, card in named.items()} == {
        "finished": "finished", "killed": "interrupted", "failed": "failed", "again": "waiting",
    }  # fmt: skip
    assert list(named)[:2] == ["killed", "finished"], "the newest first"
    failed = runs.detail(tmp_path / "runs" / "failed", [])
    assert failed and failed["error"] == "edge=12 or more" and not failed["resumable"]
    killed = runs.detail(tmp_path / "runs" / "killed", [])
    assert killed and killed["resumable"] and killed["step"] == 9
    with sole_writer(tmp_path / "runs" / "killed"):
        at_work = runs.detail(tmp_path / "runs" / "killed", [])
        assert at_work and at_work["status"] == "running" and not at_work["stoppable"], "it is no run of the page"
    waiting = runs.detail(tmp_path / "runs" / "again", [job])
    assert waiting and waiting["place"] == 1 and waiting["stoppable"]
    assert runs.detail(tmp_path / "runs" / "nothing", []) is None


def test_a_run_that_was_killed_failed_and_can_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    write_run(folder, status="running")
    job = QueuedRun(1, str(folder), [], "cat × dots", 9, state="failed", error="killed (out of memory?)")
    found = reader(tmp_path / "runs").detail(folder, [job])
    assert found and (found["status"], found["error"]) == ("failed", job.error) and found["resumable"]


def test_a_changed_record_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    write_run(folder, status="running")
    runs = reader(tmp_path / "runs")
    before = runs.record(folder)
    assert before is runs.record(folder), "read once"
    write_run(folder, status="finished")
    after = runs.record(folder)
    assert before and after and (before.status, after.status) == ("running", "finished")


def test_a_title_is_made_once_for_each_version_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "a")
    made = []
    monkeypatch.setattr(runs, "title", lambda options: made.append(options) or "a title")
    found = reader(tmp_path)
    titles = [card["title"] for _ in range(3) for card in found.cards([])]
    detail = found.detail(tmp_path / "a", [])
    assert detail and [*titles, detail["title"]] == ["a title"] * 4 and len(made) == 1


def test_the_time_left_follows_the_pixels_of_each_size() -> None:
    """100 steps at 64 px, then 100 at 128 px, where a step takes four times as long."""
    config = RunConfig(edge=128, steps=200)
    config.schedule.sizes, config.schedule.factor, config.schedule.last = 2, 2.0, 0.5
    rows = [{"step": 40.0, SECONDS: 4.0}, {"step": 50.0, SECONDS: 5.0}]
    assert seconds_left(config, rows) == pytest.approx(50 * 0.1 + 100 * 0.4)
    assert seconds_left(config, [{"step": 100.0, SECONDS: 10.0}, {"step": 150.0, SECONDS: 30.0}]) == pytest.approx(20)
    assert seconds_left(config, rows[:1]) is None and seconds_left(config, [rows[0], rows[0]]) is None


def test_a_curve_is_thinned_and_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    write_run(folder)
    rows = ["step,loss/total,loss/content,loss/style,seconds"] + [f"{at},{9 - at / 999},1,,{at}" for at in range(1000)]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n1000,")
    shown = reader(tmp_path / "runs").detail(folder, [])
    assert shown
    curve = shown["curve"]
    assert len(curve["step"]) <= MOST_POINTS + 1 and curve["step"][-1] == 999 and curve["total"][-1] == 8
    assert set(curve["style"]) == {None}


def test_addresses_change_with_the_picture_and_cannot_be_guessed(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    addresses, others = Addresses(b"one"), Addresses(b"two")
    first = addresses.of(path)
    assert first == addresses.of(path) and first != others.of(path)
    write_image(path, color="blue", size=(65, 48))
    second = addresses.of(path)
    assert first and second and first.split("/")[2] == second.split("/")[2] and first != second
    token = addresses.of(path, 100, "mine").split("/")[2]  # type: ignore[union-attr]
    assert addresses.find(token, "mine") and not addresses.find(token, "other") and not addresses.find(token, None)
    assert addresses.of(tmp_path / "none.png") is None and addresses.find("0" * 32, None) is None


def test_the_secret_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, replace = [], Path.replace

    def noted(self: Path, target: Path) -> Path:
        modes.append(self.stat().st_mode & 0o777)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    secret = secret_of(tmp_path / "app")
    assert len(secret) == 32 and secret == secret_of(tmp_path / "app") and modes == [0o600]


def test_a_picture_that_is_downloaded_later_is_found(tmp_path: Path) -> None:
    picture = Picture(name="udnie", url="https://host.test/udnie.jpg")
    assert runs._source("style", picture, None, str(tmp_path)) is None
    (tmp_path / "style").mkdir()
    path = write_image(tmp_path / "style" / "udnie.jpg")
    assert runs._source("style", picture, None, str(tmp_path)) == path


def test_a_picture_is_looked_up_again_when_its_file_changes(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png")
    picture, digest = Picture(path=str(path)), sha256_of(path)
    assert runs._source("style", picture, digest, None) == path
    write_image(path, color="blue", size=(65, 48))
    assert runs._source("style", picture, digest, None) is None, "another picture by now"
    path.unlink()
    assert runs._source("style", picture, digest, None) is None
    assert sha256_of(write_image(path)) == digest and runs._source("style", picture, digest, None) == path
    assert runs._source("style", Picture(path="~no_such_user_here/a.png"), digest, None) is None
