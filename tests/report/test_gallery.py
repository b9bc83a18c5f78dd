"""The report's page in a real browser, of a real sweep: two contents, three styles, two layer sets, one job fails."""

import dataclasses
import itertools
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import InputError
from src.config.composition import compose
from src.config.identity import identity
from src.config.schema import typed
from src.report import __main__ as report
from src.report.reproduction import overrides
from src.run import run
from src.tracking import record as records
from tests.conftest import SMALL
from tests.support.browser import Seen, chromium, opened

# Each would run, were it taken for markup or script anywhere.
HOSTILE = '</script><img src=x onerror="window.hacked=1">&lt;b&gt; \u2028 {{title}} "\' `${1}`'
SHOWN = " ".join(HOSTILE.split())
FIGURES = ("grid.png", "layers.png", "loss.png", "ssim.png", "trade_off.png", "throughput.png")
SHEETS = ("figure2.png", "figure2-2.png")  # thirteen runs have pictures, a sheet has room for twelve


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the sweep; beside its twelve jobs, one whose process is gone, and one with names of ill will."""
    sweep = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "STYLE_CACHE", "XDG_CACHE_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp("home")))
        jobs = [*itertools.product(("cat", "coffee"), ("brushwork", "dots", "swell"), ("a", "b"))]
        for content, style, layers in jobs:
            edge = 1 if (content, style, layers) == jobs[-1] else 48
            options = (f"content={content}", f"style={style}", f"layers={layers}", f"edge={edge}", "init=content")
            config = compose([*SMALL, *options, "logger=csv"])
            folder = sweep / f"{content}-{style}-{layers}"
            if edge == 1:
                with pytest.raises(InputError):
                    run(config, folder)
            else:
                run(config, folder)
        first = sweep / "cat-brushwork-a"
        record = records.read(first)
        assert record
        for name, changes in {
            "gone": {"status": "running", "seed": 7},
            "hostile": {"content": HOSTILE, "style": HOSTILE, "layers": HOSTILE, "status": "failed", "error": HOSTILE},
        }.items():
            shutil.copytree(first, sweep / name)
            dataclasses.replace(record, **changes).write(sweep / name)
        (path, *_) = report.write(report.gather([sweep]), sweep / "report", SHOWN)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all."""
    with chromium() as found:
        yield found


@pytest.fixture
def seen(browser: Any, page: Path) -> Iterator[Seen]:
    """The page, opened; it must not have made the browser complain, nor asked for anything but files."""
    with opened(browser, page) as found:
        yield found
        assert found.complaints == []
        assert all(address.startswith(("file://", "data:")) for address in found.asked)


def names(seen: Seen) -> list[str]:
    """Return the pairs of the cards, in order."""
    return seen.page.locator("#cards .pair").all_inner_texts()


def test_every_figure_is_there_and_every_image_loads(seen: Seen) -> None:
    shown = seen.page.locator("#figures img")
    assert [each.get_attribute("src") for each in shown.all()] == [*FIGURES, *SHEETS]
    assert seen.page.locator(".card img").count() == 13, "eleven finished, one gone, one hostile"
    for image in seen.page.locator("img:visible").all():
        image.scroll_into_view_if_needed()
        image.evaluate("image => image.decode()")
        assert image.evaluate("image => image.naturalWidth") > 40


def test_what_did_not_finish_is_listed_with_its_reason(seen: Seen) -> None:
    lines = seen.page.locator("#unfinished-list li").all_inner_texts()
    (failed,) = [line for line in lines if "coffee × swell" in line]
    (gone,) = [line for line in lines if "running" in line]
    assert len(lines) == 3 and "failed" in failed and "edge=12 or more" in failed
    assert "no process is at work" in gone


def test_filters_and_order(seen: Seen) -> None:
    page = seen.page
    count = page.locator("#count")
    assert count.inner_text() == "14 runs"
    page.select_option("#filter-content", "coffee")
    assert count.inner_text() == "6 of 14 runs" and set(names(seen)) == {
        "coffee × brushwork", "coffee × dots", "coffee × swell"
    }  # fmt: skip
    page.select_option("#filter-layers", "a")
    assert names(seen) == ["coffee × brushwork", "coffee × dots", "coffee × swell"]
    page.click("#reset")
    page.wait_for_function("document.getElementById('count').textContent === '14 runs'")
    page.select_option("#sort", "ssim")
    similar = page.evaluate("visible.map((run) => run.ssim)")
    assert similar[:-1] == sorted(similar[:-1]) and similar[-1] is None, "what has no SSIM comes last"
    page.click("#direction")
    assert page.evaluate("visible.map((run) => run.ssim)")[:-1] == sorted(similar[:-1], reverse=True)
    bound = sorted(similar[:-1])[6]
    page.fill("#ssim-low", repr(bound))
    assert page.locator(".card").count() == sum(each >= bound for each in similar[:-1])
    page.fill("#ssim-low", "0.999")
    assert names(seen) == [] and count.inner_text() == "0 of 14 runs"


def test_a_run_looked_at_closely(seen: Seen, page: Path) -> None:
    folder = page.parent.parent / "coffee-dots-b"
    record = records.read(folder)
    assert record
    seen.page.locator('.card[aria-label^="coffee × dots, layers b"]').click()
    dialog = seen.page.locator("#detail")
    assert dialog.is_visible() and dialog.locator("#detail-head").inner_text().startswith("coffee × dots · layers b")
    for side in ("before", "after"):
        assert dialog.locator(f"#{side}").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert dialog.locator("#befores button").all_inner_texts() == ["coffee\ncontent", "dots\nstyle"]
    strip = dialog.locator("#afters button")
    assert strip.count() == 3 and "100 %" in strip.last.inner_text()
    made = dialog.locator("#after").get_attribute("src")
    strip.first.click()
    assert dialog.locator("#after").get_attribute("src") != made, "another capture"
    assert dialog.locator("#curve polyline").count() == 3, "total and two layers"
    dialog.locator("#by-seconds").click()
    assert dialog.locator("#curve > svg").get_attribute("aria-label").startswith("Loss against seconds")
    assert shlex.split(dialog.locator("#command").inner_text())[3:] == overrides(record)
    dialog.locator("summary").click()  # the configuration
    assert "edge: 48" in dialog.locator("#config").inner_text()
    numbers = dict(line.split("\n") for line in dialog.locator("#numbers div").all_inner_texts())
    assert record.ssim and numbers["SSIM"] == f"{record.ssim:#.4g}" and numbers["size"] == "48 × 32"


def test_the_slider_parts_before_and_after(seen: Seen) -> None:
    seen.page.locator(".card").first.click()
    box = seen.page.locator("#compare").bounding_box()
    clip = "getComputedStyle(document.getElementById('after')).clipPath"
    assert seen.page.evaluate(clip) == "inset(0px 0px 0px 50%)"
    y = box["y"] + box["height"] / 2
    seen.page.mouse.move(box["x"] + box["width"] / 2, y)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + box["width"] / 4, y, steps=4)
    seen.page.mouse.up()
    at = float(seen.page.locator("#slider").input_value())
    assert 22 <= at <= 28
    assert seen.page.evaluate(clip) == f"inset(0px 0px 0px {at:g}%)"
    seen.page.locator("#slider").focus()
    seen.page.keyboard.press("End")
    assert seen.page.evaluate(clip) == "inset(0px 0px 0px 100%)"
    assert seen.page.locator("#detail").is_visible(), "the arrows of the slider are its own"


def test_with_the_keyboard_alone(seen: Seen) -> None:
    page = seen.page
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "card":
            break
    first = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert first != second
    page.keyboard.press("Enter")
    title = page.locator("#detail-head")
    assert title.is_visible()
    before = title.inner_text()
    page.keyboard.press("ArrowRight")
    after = title.inner_text()
    assert before != after
    page.keyboard.press("Escape")
    page.wait_for_function("!document.getElementById('detail').open")
    assert after.split(" · ")[0] in page.evaluate("document.activeElement.getAttribute('aria-label')"), "where it went"
    page.keyboard.press("Enter")
    page.go_back()
    page.wait_for_function("!document.getElementById('detail').open")


def test_names_of_ill_will_stay_text(seen: Seen) -> None:
    page = seen.page
    assert page.locator("h1").inner_text() == SHOWN
    page.locator(".card").filter(has_text="onerror").click()
    assert SHOWN in page.locator("#detail-head").inner_text()
    assert page.locator("#detail-state").inner_text() == f"failed: {SHOWN}"
    page.keyboard.press("Escape")
    page.locator("#table summary").click()
    page.locator("#table tbody tr").first.wait_for()  # it is filled once it is open
    assert page.locator("#table tbody tr").count() == 14
    assert page.locator("#table tbody tr").filter(has_text="onerror").count() == 1
    assert page.evaluate("window.hacked") is None and page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_in_both_schemes(browser: Any, page: Path, scheme: str) -> None:
    with opened(browser, page, 375, 700, color_scheme=scheme, has_touch=True, is_mobile=True) as seen:
        wide = "document.documentElement.scrollWidth"
        assert seen.page.evaluate(wide) == 375
        seen.page.locator(".card").first.tap()
        assert seen.page.locator("#slider").is_visible() and seen.page.evaluate(wide) == 375
        assert seen.page.locator("#detail").bounding_box()["width"] == 375
        light = seen.page.evaluate(LIGHTNESS)
        assert (light["page"] > 0.8 and light["text"] < 0.2) == (scheme == "light")
        assert (light["page"] < 0.2 and light["text"] > 0.8) == (scheme == "dark")
        assert seen.complaints == []


LIGHTNESS = """() => {
  const of = (color) => color.match(/\\d+/g).slice(0, 3).reduce((sum, each) => sum + Number(each), 0) / 765;
  const style = getComputedStyle(document.body);
  return { page: of(style.backgroundColor), text: of(style.color) };
}"""


def test_the_map_opens_runs(seen: Seen) -> None:
    seen.page.locator("#map summary").click()
    assert seen.page.locator("#map circle").count() == 13, "gone and hostile have all numbers, the failed one none"
    seen.page.select_option("#filter-content", "coffee")
    assert seen.page.locator("#map circle.out").count() == 8, "five of coffee are left"
    seen.page.locator("#map circle:not(.out)").first.click()
    assert "coffee" in seen.page.locator("#detail-head").inner_text()


def test_the_command_shown_makes_the_very_run_again(page: Path) -> None:
    runs = [record for _, record in report.gather([page.parent.parent]) if record.content != HOSTILE]
    assert len(runs) == 13
    for record in runs:
        assert identity(compose(overrides(record))) == identity(typed(record.config))
