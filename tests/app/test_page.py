"""The page in a real browser, with real runs."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from src.config.composition import compose
from src.config.identity import identity
from src.tracking import record as records
from tests.app.test_uploads import picture
from tests.report.runs import write_image, write_run
from tests.support import ROOT
from tests.support.browser import Seen, chromium, opened

WAIT = 300_000  # ms, for a run on a machine that has other work
EDGE, LONG_EDGE = 96, 192  # px, of a run to its end, and of one that is stopped


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all."""
    with chromium() as found:
        yield found


class Server:
    """`python -m src.app` as a process of its own, which can be started anew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had before."""
        arguments = ["--no-open", "--port", str(self.port), "--folder", str(self.folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "src.app", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line
        self.port = int(found[1])

    def end(self, number: int) -> int:
        """End it by a signal; return its exit status."""
        self.process.send_signal(number)
        assert self.process.stdout
        self.process.stdout.close()
        return self.process.wait(30)

    @property
    def address(self) -> str:
        """Return the address of the page."""
        return f"http://127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        """Return the processes of runs at work."""
        jobs = [json.loads(path.read_text()) for path in (self.folder / "queue").glob("*.json")]
        return [job["pid"] for job in jobs if job["pid"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of an empty folder."""
    found = Server(tmp_path_factory.mktemp("page") / "app")
    yield found
    for pid in found.pids():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    found.end(signal.SIGKILL)


@pytest.fixture
def seen(browser: Any, server: Server) -> Iterator[Seen]:
    """The page, opened; it must not have made the browser complain, nor asked for anything outside of this machine."""
    with opened(browser, server.address, 1440, 900) as found:
        found.page.locator("#content-choice img").first.wait_for()
        yield found
        asked_last = [each for each in found.complaints if each.endswith("/api/sketch")]  # aborted as the page is left
        assert found.complaints == asked_last and found.left == []
        assert found.asked and all(each.startswith((server.address, "blob:")) for each in found.asked)


def turn(page: Any, **values: float) -> None:
    """Set sliders."""
    for name, value in values.items():
        page.locator(f"#{name}").evaluate(
            "(knob, value) => { knob.value = value; knob.dispatchEvent(new Event('input')); }", value
        )


def choose(page: Any, kind: str, name: str) -> None:
    page.locator(f"#{kind}-choice .tile", has_text=name).click()


@pytest.mark.long
def test_a_run_from_start_to_gallery(seen: Seen, server: Server) -> None:
    """Started, watched, found again after a reload and a restart of the server, finished, compared, kept, repeated."""
    page = seen.page
    choose(page, "content", "cat")
    choose(page, "style", "swell")
    turn(page, edge=EDGE, steps=400)
    assert page.locator("#edge-option").inner_text() == f"edge={EDGE}"
    page.click("#start")
    page.locator("#status.running").wait_for(timeout=WAIT)
    shown, address, reloaded = set(), page.url, False
    for _ in range(WAIT // 100):
        if page.locator("#status.finished").count():
            break
        if source := page.locator("#after").get_attribute("src"):
            shown.add(source)
        if len(shown) >= 2 and not reloaded:
            reloaded = page.reload() is not None
            page.locator("#status.running").wait_for()
            seen.complaints.clear()  # the reload has aborted a look at the server
            assert page.url == address, "the address of the page is that of the run"
        page.wait_for_timeout(100)
    assert reloaded and len(shown) >= 5, shown
    assert page.locator("#status.finished").is_visible()
    (folder,) = [path.parent for path in server.folder.glob("*/record.json")]
    record = records.read(folder)
    assert record and record.status == "finished" and record.step == 400
    assert not (folder / "preview.jpg").exists()

    card = page.locator(".card")
    assert card.count() == 1 and "cat × swell" in card.inner_text() and "400 steps" in card.inner_text()
    card.locator("img").evaluate("image => image.decode()")
    assert card.locator("img").evaluate("image => image.naturalWidth") == EDGE
    assert (
        page.locator("#compare.split #before").evaluate("image => image.decode().then(() => image.naturalWidth)") > EDGE
    )
    page.locator("#slider").focus()
    page.keyboard.press("Home")
    assert page.evaluate("getComputedStyle(document.getElementById('after')).clipPath") == "inset(0px 0px 0px 0%)"
    with page.expect_download() as kept:
        page.click("#download")
    seen.complaints[:] = [each for each in seen.complaints if not each.endswith("/file")]  # what becomes of a download
    assert kept.value.suggested_filename == f"{folder.name}.png"
    assert Path(kept.value.path()).read_bytes() == (folder / "image.png").read_bytes()
    told = page.locator("#command").inner_text()
    assert told == f"python -m src.train content=cat style=swell steps=400 edge={EDGE}"
    assert identity(compose(shlex.split(told)[3:])) == identity(record.options)
    assert page.locator("#curve polyline").count() == 3
    with page.expect_response("**/api/runs") as answer:
        page.click("#start")  # the same again: the form has outlived the reload
    assert address.endswith(answer.value.json()["run"]) and not server.pids(), "it is there already"


def test_a_quick_preview_follows_the_choice(seen: Seen) -> None:
    """It is there before a run is started, changes with style, share and size, and is none of another content's."""
    page = seen.page
    choose(page, "content", "cat")
    choose(page, "style", "swell")
    turn(page, edge=EDGE)
    shown = []
    for change in (lambda: None, lambda: choose(page, "style", "dots"), lambda: turn(page, edge=2 * EDGE)):
        change()
        for _ in range(WAIT // 50):
            source = page.locator("#after").get_attribute("src") or ""
            if source.startswith("blob:") and source not in shown:
                break
            page.wait_for_timeout(50)
        shown.append(source)
    assert len(set(shown)) == 3 and page.locator("#quick").is_visible()
    for _ in range(WAIT // 50):
        width = page.locator("#after").evaluate("image => image.decode().then(() => image.naturalWidth, () => 0)")
        if width == 2 * EDGE:
            break
        page.wait_for_timeout(50)
    assert width == 2 * EDGE, "that of the last choice in the end"
    assert page.locator("#slider").is_visible()
    choose(page, "content", "coffee")
    page.locator("#after").wait_for(state="attached")
    assert page.locator("#before").get_attribute("alt") == "The content of coffee"


@pytest.mark.long
def test_stop_restart_resume_and_the_queue(seen: Seen, browser: Any, server: Server) -> None:
    page = seen.page
    choose(page, "content", "coffee")
    turn(page, edge=LONG_EDGE, steps=200)
    page.click("#start")
    page.locator("#progress-text", has_text=re.compile("Step")).wait_for(timeout=WAIT)
    turn(page, edge=LONG_EDGE, steps=190)
    page.click("#start")
    page.locator("#status.waiting").wait_for()
    assert page.locator("#queue li").count() == 2 and len(server.pids()) == 1, "one at a time"
    (pid,) = server.pids()
    assert server.end(signal.SIGINT) == 130
    page.locator("#lost").wait_for()
    os.kill(pid, 0)  # the run goes on
    server.start()
    page.locator("#lost").wait_for(state="hidden")
    assert server.pids() == [pid]
    with opened(browser, server.address) as other:  # another browser sees both, and takes one out of the queue
        other.page.locator("#queue li").nth(1).get_by_role("button", name="Remove").click()
        other.page.locator("#queue li").nth(1).wait_for(state="detached")
        other.page.locator("#status.running").wait_for()
        other.page.click("#stop")
        other.page.locator("#status.interrupted").wait_for(timeout=WAIT)
        record = next(record for _, record in records.scan(server.folder) if record.options.steps == 200)
        stopped = record.step
        assert record.status == "interrupted" and 0 < stopped < 200
        other.page.click("#resume")
        other.page.locator("#status.running").wait_for(timeout=WAIT)
        for _ in range(WAIT // 100):  # the page's policy forbids what wait_for_function does
            step = re.search(r"Step (\d+)", other.page.locator("#progress-text").inner_text())
            if step and int(step[1]) > stopped:
                break
            other.page.wait_for_timeout(100)
        assert step and int(step[1]) > stopped
        other.page.click("#stop")
        other.page.locator("#status.interrupted").wait_for(timeout=WAIT)
    seen.complaints[:] = [
        each for each in seen.complaints if "ERR_CONNECTION_REFUSED" not in each and "/api/state" not in each
    ]


def test_uploads_good_and_bad(seen: Seen, tmp_path: Path) -> None:
    page = seen.page
    (tmp_path / "bad<b>.png").write_bytes(b"<svg onload='window.hacked=1'/>")
    page.set_input_files('#content-choice input[type="file"]', tmp_path / "bad<b>.png")
    problem = page.locator("#problem")
    problem.wait_for()
    assert problem.inner_text().startswith("bad<b>.png is not an image of a known format; one of: JPEG")
    seen.complaints.clear()  # the browser reports the refusal
    before = page.locator("#content-choice .tile").count()
    (tmp_path / "good.png").write_bytes(picture(size=(320, 200)))
    page.set_input_files('#content-choice input[type="file"]', tmp_path / "good.png")
    page.locator("#content-choice .tile", has_text="good.png").wait_for()
    assert not problem.is_visible() and page.locator("#content-choice .tile").count() == before + 1
    assert page.locator("#content-choice input:checked").get_attribute("value").startswith("upload:")
    page.locator("#before").evaluate("image => image.decode()")
    page.click("#mix")
    assert "good.png" not in page.locator("#others option").all_text_contents(), "it was sent as a content"
    page.reload()
    page.locator("#content-choice .tile", has_text="good.png").wait_for()


def test_a_painted_mask_and_a_second_style_reach_the_run(seen: Seen, server: Server) -> None:
    page = seen.page
    page.locator("#mask summary").click()
    page.locator("#easel-picture").evaluate("image => image.decode()")
    canvas = page.locator("#canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4, steps=4)
    page.mouse.up()
    assert page.locator("#mask-option").inner_text() == "keep_unmasked=true"
    canvas.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.click("#mix")
    page.select_option("#others select", "dots")
    page.select_option("#outside", "style")
    turn(page, edge=EDGE, steps=20)
    page.locator("#mask summary").click()
    assert "a mask is painted" in page.locator("#mask summary").inner_text(), "folded, it still counts"
    with page.expect_response("**/api/runs") as answer:
        page.click("#start")
    run = answer.value.json()["run"]
    jobs = [json.loads(path.read_text()) for path in sorted((server.folder / "queue").glob("*.json"))]
    config = compose([each for each in jobs[-1]["arguments"] if not each.startswith("hydra.")])
    assert config.blend.styles == ["dots"] and config.blend.masks == ["0"] and config.content.mask
    with Image.open(ROOT / config.content.mask) as mask:
        found = mask.convert("L")
        assert sorted(colour for _, colour in found.getcolors()) == [0, 255]  # type: ignore[misc]
        width, height = found.size
        assert found.getpixel((width // 3, height // 4)) == 255 and found.getpixel((width - 1, height - 1)) == 0
    page.locator("#status.running, #status.waiting").wait_for()
    with page.expect_response(f"**/api/runs/{run}/stop"):
        page.click("#stop")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two hundred runs."""
    folder = tmp_path_factory.mktemp("full") / "app"
    record = write_run(folder / "run-000", started="2026-11-27T08:00:00+00:00")
    for number in range(200):
        record.started = f"2026-11-27T{number // 60:02}:{number % 60:02}:00+00:00"
        record.write(folder / f"run-{number:03}")
        write_image(folder / f"run-{number:03}" / "image.png", color=("orange", "teal", "plum")[number % 3])
    found = Server(folder)
    yield found
    found.end(signal.SIGKILL)


def test_two_hundred_runs_are_listed(browser: Any, full: Server) -> None:
    with opened(browser, full.address, 1440, 900) as seen:
        page = seen.page
        page.locator(".card").nth(199).wait_for(state="attached")
        listed = page.evaluate("performance.now()")
        print(f"200 runs listed {listed / 1000:.2f} s after the request for the page")
        assert page.locator("#count").inner_text() == "200 pictures"
        loaded = len([each for each in seen.asked if "/pictures/" in each])
        assert loaded < 120, "pictures below the window are not asked for"
        assert seen.complaints == [] and seen.left == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_in_both_schemes(browser: Any, full: Server, scheme: str) -> None:
    with opened(browser, full.address, 390, 844, color_scheme=scheme, has_touch=True, is_mobile=True) as seen:
        page = seen.page
        page.locator(".card").first.wait_for(state="attached")
        page.locator("#mask summary").tap()
        page.click("#mix")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.locator(".card").first.tap()
        page.locator("#slider").wait_for()
        page.locator("#command-box").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        low = page.evaluate(CONTRAST)
        assert not low, "text of less than 4.5 : 1"
        assert seen.complaints == [] and seen.left == []


CONTRAST = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = numbers(color).map((each) => linear(each / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor, parts = numbers(color);
      if (parts.length < 4 || parts[3] === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length || element.closest("[hidden], .hidden, :disabled, option")) continue;
    const [one, two] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    const name = `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 30)}`;
    if (ratio < 4.5) found.push(`${name} ${ratio.toFixed(2)}`);
  }
  return found;
}"""


def test_with_the_keyboard_alone(browser: Any, full: Server) -> None:
    with opened(browser, full.address, 1440, 900) as seen:
        page = seen.page
        page.locator(".card").first.wait_for()
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            focused = "document.activeElement.id || document.activeElement.name || document.activeElement.className"
            reached.append(page.evaluate(focused))
            if reached[-1] == "card":
                break
            outlined = """() => { const e = document.activeElement, t = e.closest('.tile') || e;
              return getComputedStyle(t).outlineStyle !== 'none'; }"""
            assert page.evaluate(outlined), f"{reached[-1]} shows its focus"
        for name in ("content", "style", "mix", "strength", "edge", "steps", "color", "start"):
            assert name in reached, name
        page.keyboard.press("Enter")
        page.locator("#status.finished").wait_for()
        assert page.evaluate("document.activeElement.id") == "result", "the focus follows to the picture"
        unnamed = """() => [...document.querySelectorAll('button, input, select, a, canvas')]
          .filter((e) => e.getClientRects().length)
          .filter((e) => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim()))
          .map((e) => e.outerHTML)"""
        assert page.evaluate(unnamed) == []


def test_hostile_names_stay_text(browser: Any, server: Server) -> None:
    hostile = '<img src=x onerror="window.hacked=1">'
    folder = server.folder / "hostile"
    write_run(folder, content=hostile, style="dots", status="failed", error=hostile)
    try:
        with opened(browser, server.address) as seen:
            seen.page.locator(".card", has_text="onerror").click()
            seen.page.locator("#status.failed").wait_for()
            assert hostile in seen.page.locator("#title").inner_text()
            assert seen.page.locator("#error").inner_text() == hostile
            assert seen.page.evaluate("window.hacked") is None and seen.page.locator("img[src='x']").count() == 0
    finally:
        shutil.rmtree(folder)
