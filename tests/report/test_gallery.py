"""The report's page in a real browser: a sweep of pairs, layer sets and ratios; some runs did not finish."""

import dataclasses
import itertools
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.config.composition import compose
from src.config.identity import identity
from src.report.reproduction import overrides
from src.report.runs import gather, varying
from src.report.writing import write
from src.tracking import record as records
from tests.report.runs import write_run, write_sweep
from tests.support.browser import Seen, chromium, opened

# Would run if any part of the page took it for markup or script.
HOSTILE = '</script><img src=x onerror="window.hacked=1">&lt;b&gt; \u2028 {{title}} "\' `${1}`'
SHOWN = " ".join(HOSTILE.split())
FIGURES = ("grid.jpg", "sweep.jpg", "loss.png", "ssim.png", "trade_off.png", "throughput.png")
SHEETS = ("figure2.jpg", "figure2-2.jpg")  # eighteen runs have images, a sheet has room for twelve
RUNS = 19
SIDES = (("x", "width"), ("y", "height"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of sixteen runs, one that failed, one whose process is gone, and one with hostile names."""
    sweep = tmp_path_factory.mktemp("data") / "sweep"
    write_sweep(sweep)
    failed = {"captures": (), "status": "failed", "error": "use edge=12 or more"}
    write_run(sweep / "failed", content="coffee", style="swell", options={"edge": 1}, **failed)
    first = sweep / "cat-dots-a-3"
    record = records.read(first)
    assert record
    hostile = {**record.config, "layers": {**record.config["layers"], "name": HOSTILE}}
    for kind in ("content", "style"):
        hostile[kind] = {**record.config[kind], "name": HOSTILE}
    for name, changes in {
        "gone": {"status": "running", "config": {**record.config, "seed": 7}},
        "hostile": {"config": hostile, "status": "failed", "error": HOSTILE},
    }.items():
        shutil.copytree(first, sweep / name)
        dataclasses.replace(record, **changes).write(sweep / name)
    (path, *_) = write(gather([sweep]), sweep / "report", [Path(HOSTILE.replace("/", "∕"))])
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
    return seen.page.locator("#cards .pair").all_text_contents()


def test_every_figure_is_there_and_every_image_loads(seen: Seen) -> None:
    shown = seen.page.locator("#figures img")
    assert [each.get_attribute("src") for each in shown.all()] == [*FIGURES, *SHEETS]
    assert seen.page.locator(".card img").count() == RUNS - 1, "all but the one that failed"
    for image in seen.page.locator("img:visible").all():
        image.scroll_into_view_if_needed()
        image.evaluate("image => image.decode()")
        assert image.evaluate("image => image.naturalWidth") > 40


def test_links_to_sections_land_where_they_lead(seen: Seen) -> None:
    """Also before the images have loaded: their sizes are in the page."""
    seen.page.locator('nav a[href="#tables"]').click()
    seen.page.wait_for_timeout(300)
    seen.page.locator("#figures img").last.evaluate("image => image.decode()")
    top = seen.page.locator("#tables").bounding_box()["y"]
    bottom = seen.page.evaluate("document.documentElement.scrollHeight - scrollY - innerHeight")
    assert abs(top) < 60 or bottom < 2


def test_the_title_and_the_results_say_what_was_swept(seen: Seen) -> None:
    assert seen.page.locator("h1").inner_text().startswith("Layers × loss.beta × edge × seed")
    heads = seen.page.locator("#means h3").all_inner_texts()
    assert heads[0] == "Means by swept values" and "Mean SSIM: layers against loss.beta" in heads
    assert "compare only within a style" in seen.page.locator("#means").inner_text()


def test_the_page_begins_with_what_the_swept_options_change(seen: Seen) -> None:
    """Without scrolling: which values keep the content and which take the style, and in how many pairs."""
    rows = seen.page.locator("#findings tbody tr")
    assert rows.first.bounding_box()["y"] + rows.first.bounding_box()["height"] < 800
    layers, beta = (rows.nth(at).locator("td").all_inner_texts() for at in (0, 1))
    # SSIM rises and patch distance falls over the runs, in the order pair, layers, loss.beta
    assert layers == ["layers", "16", "b: 0.470 (in 4 of 4 pairs)", "a: 0.430 (in 4 of 4 pairs)",
                      "b: 0.215 (in 4 of 4 pairs)", "a: 0.235 (in 4 of 4 pairs)"]  # fmt: skip
    assert beta[0] == "loss.beta" and beta[2].startswith("30: ") and beta[5].startswith("3: ")
    assert "Layers: a = relu1_1; b = relu1_1 relu2_1" in seen.page.locator("#findings").inner_text()
    assert "All: 9 steps, loss.alpha=1." in seen.page.locator("header").inner_text(), "one run has another edge"


def test_unfinished_runs_are_listed_with_their_reason(seen: Seen) -> None:
    lines = seen.page.locator("#unfinished-list li").all_inner_texts()
    (failed,) = [line for line in lines if "coffee × swell" in line]
    (gone,) = [line for line in lines if "running" in line]
    assert len(lines) == 3 and "failed" in failed and "edge=12 or more" in failed
    assert "no process holds its folder" in gone


def test_filters_and_order(seen: Seen) -> None:
    page = seen.page
    count = page.locator("#count")
    assert count.inner_text() == f"{RUNS} runs"
    page.select_option("#filter-content", "coffee")
    assert count.inner_text() == f"9 of {RUNS} runs" and set(names(seen)) == {"coffee × dots", "coffee × swell"}
    page.select_option('[id="filter-layers.name"]', "a")
    page.select_option('[id="filter-loss.beta"]', "30")
    assert names(seen) == ["coffee × dots", "coffee × swell"]
    page.click("#reset")
    page.get_by_text(f"{RUNS} runs", exact=True).wait_for()
    page.select_option("#filter-status", "failed")
    assert count.inner_text() == f"2 of {RUNS} runs"
    page.click("#reset")
    page.get_by_text(f"{RUNS} runs", exact=True).wait_for()
    page.select_option("#sort", "ssim")
    similar = page.evaluate("visible.map((run) => run.ssim)")
    assert similar[:-1] == sorted(similar[:-1]) and similar[-1] is None, "a run without SSIM comes last"
    page.click("#direction")
    assert page.evaluate("visible.map((run) => run.ssim)")[:-1] == sorted(similar[:-1], reverse=True)
    page.select_option("#sort", "loss.beta")
    assert page.evaluate("visible[0].settings['loss.beta']") == "30", "by value, largest first"
    bound = sorted(similar[:-1])[6]
    page.fill("#ssim-low", repr(bound))
    assert page.locator(".card").count() == sum(each >= bound for each in similar[:-1])
    page.fill("#ssim-low", "0.999")
    assert names(seen) == [] and count.inner_text() == f"0 of {RUNS} runs"


def test_a_run_in_the_dialog(seen: Seen, page: Path) -> None:
    folder = page.parent.parent / "coffee-dots-b-30"
    record = records.read(folder)
    assert record
    seen.page.locator('.card[aria-label^="coffee × dots, layers b, loss.beta=30"]').click()
    dialog = seen.page.locator("#detail")
    head = dialog.locator("#detail-head").inner_text()
    assert dialog.is_visible() and head.startswith("coffee × dots · layers b · loss.beta=30")
    for side in ("before", "after"):
        assert dialog.locator(f"#{side}").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert dialog.locator("#befores button").all_inner_texts() == ["coffee\ncontent", "dots\nstyle"]
    strip = dialog.locator("#afters button")
    assert strip.count() == 3 and "100 %" in strip.last.inner_text()
    made = dialog.locator("#after").get_attribute("src")
    strip.first.click()
    assert dialog.locator("#after").get_attribute("src") != made, "another capture"
    assert dialog.locator("#curve polyline").count() == 5, "total, content, style, patches, one layer"
    assert dialog.locator("#curve > svg text").last.inner_html() == "optimiser steps"
    dialog.locator("#by-seconds").click()
    assert dialog.locator("#curve > svg text").last.inner_html() == "wall time, s"
    assert dialog.locator("#curve > svg").get_attribute("aria-label").startswith("Loss against seconds")
    swept = varying(gather([page.parent.parent]))
    assert shlex.split(dialog.locator("#command").inner_text())[3:] == overrides(record, swept)
    dialog.locator("summary").click()  # the configuration
    assert "edge: 64\n" in dialog.locator("#config").inner_text()
    assert "style:\n  - relu1_1\n  - relu2_1\n" in dialog.locator("#config").inner_text()
    numbers = dict(line.split("\n") for line in dialog.locator("#numbers div").all_inner_texts())
    assert record.ssim and numbers["SSIM"] == f"{record.ssim:#.4g}" and numbers["size"] == "64 × 48"
    assert "Gram distance (judge: vgg16 random)" in numbers


def test_the_slider_moves_the_edge_between_the_images(seen: Seen) -> None:
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
    assert seen.page.locator("#detail").is_visible(), "arrow keys on the slider move the slider"


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
    title.wait_for(state="hidden")
    assert after.split(" · ")[0] in page.evaluate("document.activeElement.getAttribute('aria-label')"), "the last run"
    page.keyboard.press("Enter")
    page.go_back()
    title.wait_for(state="hidden")


def test_hostile_names_stay_text(seen: Seen) -> None:
    page = seen.page
    assert SHOWN.replace("/", "∕") in page.locator("header").inner_text()
    page.locator(".card").filter(has_text="onerror").click()
    assert SHOWN in page.locator("#detail-head").inner_text()
    assert page.locator("#detail-state").inner_text() == f"failed: {SHOWN}"
    page.keyboard.press("Escape")
    page.locator("#table summary").click()
    page.locator("#table tbody tr").first.wait_for()  # it is filled when it opens
    assert page.locator("#table tbody tr").count() == RUNS
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


def test_the_map_names_its_dots_and_opens_runs(seen: Seen) -> None:
    seen.page.locator("#map summary").click()
    assert seen.page.locator("#map circle").count() == RUNS - 1, "the failed run has no numbers"
    names = seen.page.locator("#map text.name").all_text_contents()
    assert any(name.startswith("coffee × dots, layers b, loss.beta=30") for name in names)
    boxes = [name.bounding_box() for name in seen.page.locator("#map text.name").all()]
    for first, second in itertools.combinations(boxes, 2):
        apart = [first[at] >= second[at] + second[size] or second[at] >= first[at] + first[size] for at, size in SIDES]
        assert any(apart), "no name lies on another"
    seen.page.select_option("#filter-content", "coffee")
    assert seen.page.locator("#map circle.out").count() == RUNS - 1 - 8, "eight of coffee are left"
    seen.page.locator("#map circle:not(.out)").first.click()
    assert "coffee" in seen.page.locator("#detail-head").inner_text()


@pytest.mark.long
def test_the_command_shown_repeats_the_run(page: Path) -> None:
    runs = [run.record for run in gather([page.parent.parent]) if run.content != SHOWN]
    assert len(runs) == RUNS - 1
    for record in runs:
        assert identity(compose(overrides(record))) == identity(record.options)
