"""The page in headless Chromium: what cannot be seen in its text."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foolscope.report import render_audit
from foolscope.report.charts import curve_points
from foolscope.report.explanations import loss_geometry, transfer
from foolscope.report.explanations.shapes import boxes
from foolscope.report.explanations.style import PLAIN, axis, layered, lines
from foolscope.report.lines import lines_chart
from foolscope.report.render import render_page
from foolscope.report.section import Chart, Number, Numbers, Section

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

# The ratio of contrast of each visible text with what lies behind it, as WCAG 2 defines it; returns the texts below 4.5.
LOW_CONTRAST = """() => {
  const rgb = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return {c: n.slice(0, 3), a: n.length > 3 ? n[3] : 1}; };
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255, v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const b = rgb(getComputedStyle(e).backgroundColor); if (b.a > 0.99) return b.c; }
    return [255, 255, 255]; };
  const low = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  for (let node; (node = walk.nextNode()); ) {
    const e = node.parentElement;
    if (!node.textContent.trim() || e.closest("script, style, noscript, [hidden], .skip, caption")) continue;
    const style = getComputedStyle(e);
    const own = light(rgb(e.closest("svg") ? style.fill : style.color).c), other = light(behind(e));
    const ratio = (Math.max(own, other) + 0.05) / (Math.min(own, other) + 0.05);
    seen += 1;
    if (ratio < 4.5) low.push([node.textContent.trim(), ratio]);
  }
  return {seen, low};
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path, audit) -> Iterator[Any]:
    """Opens the report of a made-up audit; at the end, nothing may have been asked for outside and the console must be clean."""
    troubles, asked, pages = [], [], []

    def opened(width: int = 1200, scheme: str = "light", **made: Any) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        file: Path = tmp_path / "report.html"
        file.write_text(render_audit(*audit(**made)), encoding="utf-8")
        page.goto(file.as_uri())
        page.wait_for_selector(".plot svg")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert troubles == []
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_hovering_the_curve_shows_the_value_there(show, audit):
    record, *_ = audit()
    page = show()
    page.locator(".plot").scroll_into_view_if_needed()
    rows = curve_points(record)
    box = page.locator(".plot .target_marks").bounding_box()
    for share in (0.02, 0.4, 0.9):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_selector("#vg-tooltip-element.visible")
        page.wait_for_timeout(50)
        shown = page.locator("#vg-tooltip-element td.value").all_inner_texts()
        eps = share * rows[-1]["eps"]
        pixel = rows[-1]["eps"] / box["width"]
        near = [row for row in rows if abs(row["eps"] - eps) <= min(abs(r["eps"] - eps) for r in rows) + 2 * pixel]
        assert shown in [[row["eps_text"], row["accuracy_text"], row["interval_text"]] for row in near]
        assert re.search(r"\(\d+\.\d\d/255\)", shown[0])
    assert page.locator("#vg-tooltip-element").evaluate("e => getComputedStyle(e).visibility") == "visible"


def test_the_selector_switches_every_tile_by_keyboard_and_mouse(show, audit):
    page = show()
    seen = "() => [...document.querySelectorAll('.view')].filter(v => !v.hidden).map(v => v.dataset.choice)"
    visible = "c => [...c.querySelectorAll('img')].filter(i => i.checkVisibility()).map(i => i.src)"
    pictures = f"() => [...document.querySelectorAll('.card')].map({visible})"
    assert all(len(card) == 3 for card in page.evaluate(pictures))
    before = page.evaluate(pictures)
    assert set(page.evaluate(seen)) == {"2"}
    page.locator(".gallery input:checked").focus()
    page.keyboard.press("ArrowRight")
    after = page.evaluate(pictures)
    assert set(page.evaluate(seen)) == {"3"}
    assert len(after) == len(before) == 6
    for old, new in zip(before, after, strict=True):
        assert old[0] == new[0]
        assert old[2] != new[2]
    page.locator(".gallery label").first.click()
    assert set(page.evaluate(seen)) == {"0"}
    verdicts = [
        next(text for text in card.locator(".view figcaption").all_inner_texts() if text)
        for card in page.locator(".card").all()
    ]
    expected = [tile.shots[0].fooled for tile in audit()[3]]
    assert ["not fooled" not in text for text in verdicts] == expected
    assert set(expected) == {True, False}


def test_both_colour_schemes_are_legible(show):
    paper = {}
    for scheme in ("light", "dark"):
        page = show(scheme=scheme, suspicious=True, complete=False)
        paper[scheme] = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        contrast = page.evaluate(LOW_CONTRAST)
        assert contrast["seen"] > 150
        assert contrast["low"] == []
        lines = page.evaluate("() => getComputedStyle(document.querySelector('.plot .role-axis-domain line')).stroke")
        assert lines == page.evaluate("() => getComputedStyle(document.querySelector('.method')).color")
    assert paper["light"] != paper["dark"]


@pytest.mark.parametrize(
    "made",
    [
        {},
        {
            "suspicious": True,
            "complete": False,
            "model": "a_very_long_name_" * 12,
            "classes": ["Supercalifragilistic" * 6] * 10,
        },
    ],
)
def test_a_phone_never_scrolls_sideways(show, made):
    page = show(width=375, **made)
    assert page.evaluate("() => document.scrollingElement.scrollWidth <= window.innerWidth")
    inside = "() => [...document.querySelectorAll('.scroll')].every(b => b.getBoundingClientRect().right <= innerWidth)"
    assert page.evaluate(inside)
    assert page.locator(".plot svg").bounding_box()["width"] <= 375


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("made", ["lines", "dashed", "rule"])
def test_no_legend_and_no_title_of_a_chart_is_cut_off(browser, tmp_path, width, made):
    names = [f"validation images, {kind}" for kind in ("clean", "single step", "probe", "probe again")]
    rows = [{"x": k, "y": k, "text": "", "series": name, "name": name, "line": style}
            for k in (1, 2) for name, style in zip(names, ("measured", "fitted") * 2, strict=True)]  # fmt: skip
    title = "distance along the direction of the gradient's sign (largest change of a pixel value)"
    if made == "lines":
        spec = lines_chart(rows, x=title, y="error", series=names)
    elif made == "rule":  # near the right edge
        names = list(loss_geometry.NAMES.values())
        series = {"odds": [0.5, 3.0, 17.0], "state": [0, 0, 1], "states": list(loss_geometry.NAMES)}
        gaps = {"precision": "float32", "gaps": {"own": 16.6, "every": 104.0}}
        spec = loss_geometry.chart({"series": series | gaps})
    else:
        spec = layered(lines(rows, axis("x", title), axis("y", title), names=names, dash="line"))
    file: Path = tmp_path / "chart.html"
    file.write_text(render_page("chart", "chart", [Section("chart", "Chart", "", (Chart(spec, "A chart."),))]))
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(file.as_uri())
    page.wait_for_selector(".plot svg")
    within = """() => { const s = document.querySelector(".plot svg").getBoundingClientRect();
      return [...document.querySelectorAll(".plot svg text")].map(t => [t.textContent, t.getBoundingClientRect()])
        .map(([text, r]) => [text, r.left >= s.left - 1 && r.right <= s.right + 1 && r.top >= s.top - 1 && r.bottom <= s.bottom + 1]) }"""
    texts = page.evaluate(within)
    page.close()
    assert {text for text, _ in texts} >= {*names, *(("measured", "fitted") if made == "dashed" else ())}  # whole
    assert [text for text, inside in texts if not inside] == []


def test_a_low_chart_leaves_no_gap_beneath_it(browser, tmp_path):
    rows = [{"name": name, "low": 1, "q1": 2, "median": 3, "q3": 4, "high": 5} for name in ("one", "other")]
    spec = boxes(rows, axis("median", "length"), names=("one", "other"))
    file: Path = tmp_path / "chart.html"
    file.write_text(render_page("chart", "chart", [Section("chart", "Chart", "", (Chart(spec, "A chart."),))]))
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(file.as_uri())
    page.wait_for_selector(".plot svg")
    plot, drawn = (page.locator(part).bounding_box()["height"] for part in (".plot", ".plot svg"))
    page.close()
    assert drawn < 300
    assert plot - drawn < 20


def test_the_numbers_of_a_logarithmic_axis_are_written_out(browser, tmp_path):
    rows = [{"name": "one", "x": x, "y": y} for x, y in ((0.002, 10), (0.3, 1000))]
    spec = layered(
        lines(rows, axis("x", "eps", log=True, form=PLAIN), axis("y", "gradient", log=True, form=PLAIN), names=["one"])
    )
    file: Path = tmp_path / "chart.html"
    file.write_text(render_page("chart", "chart", [Section("chart", "Chart", "", (Chart(spec, "A chart."),))]))
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(file.as_uri())
    page.wait_for_selector(".plot svg")
    texts = page.locator(".plot svg text").all_text_contents()
    page.close()
    assert {"0.01", "0.1", "10", "100", "1000"} <= set(texts)
    assert not any("e" in text for text in texts if text[:1].isdigit())


def test_the_names_of_both_models_of_a_transfer_are_whole_on_a_phone(browser, tmp_path):
    names, rates = ["mnist_cnn_a_plain", "mnist_cnn_a_adv"], [[1.0, 0.1], [0.3, 0.2]]
    ends = [[[rate, rate] for rate in row] for row in rates]
    spec = transfer.chart({"models": names, "rate": rates, "interval": ends, "n": 100, "targeted": False})
    file: Path = tmp_path / "chart.html"
    file.write_text(render_page("chart", "chart", [Section("chart", "Chart", "", (Chart(spec, "A chart."),))]))
    page = browser.new_page(viewport={"width": 375, "height": 900})
    page.goto(file.as_uri())
    page.wait_for_selector(".plot svg")
    texts = page.locator(".plot svg text").all_text_contents()
    page.close()
    assert all(f"{one} \u2192{other}" in texts for one in names for other in names)


def test_long_names_above_numbers_share_a_phone(browser, tmp_path):
    numbers = Numbers((Number("plain", "40.0%", ""), Number("a_name_that_is_much_longer_than_half/audit", "60.0%", "")))
    file: Path = tmp_path / "numbers.html"
    file.write_text(render_page("numbers", "numbers", [Section("numbers", "Numbers", "", (numbers,))]))
    page = browser.new_page(viewport={"width": 375, "height": 900})
    page.goto(file.as_uri())
    boxes = [box.bounding_box() for box in page.locator(".numbers > div").all()]
    page.close()
    assert boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=1)


def test_headings_sort_their_table(show):
    page = show()
    column = "() => [...document.querySelectorAll('#classes tbody tr')].map(r => Number(r.cells[1].dataset.key))"
    heading = page.locator("#classes thead button").nth(1)
    for order, rising in (("ascending", True), ("descending", False)):
        heading.click()
        values = page.evaluate(column)
        assert values == sorted(values, reverse=not rising)
        assert page.locator("#classes thead th").nth(1).get_attribute("aria-sort") == order


def test_a_strangers_script_does_not_run(show):
    evil = "</script><script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    page = show(model=evil, classes=[evil] * 10, eps_text=evil)
    assert "owned" in page.title()
    assert page.title().startswith("</script>")
    assert page.evaluate("() => document.querySelectorAll('img[src=x]').length") == 0


def test_print_is_dark_on_light_even_in_the_dark(show):
    page = show(scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    colour = page.evaluate("() => getComputedStyle(document.body).color")
    assert max(json.loads(f"[{colour[4:-1]}]")) < 80
    assert not page.locator("nav").is_visible()
    page.set_viewport_size({"width": 680, "height": 900})  # A4 within its margins: no table may be cut off
    assert page.evaluate("() => [...document.querySelectorAll('.scroll')].every(b => b.scrollWidth <= b.clientWidth)")
