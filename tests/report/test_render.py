from __future__ import annotations

import re

from foolscope.report import Section, render_audit, render_page
from foolscope.report.section import Cell, Column, Fact, Facts, Notes, Number, Numbers, Table

EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def without_scripts(html: str) -> str:
    return re.sub(r"<script\b[^>]*>.*?</script>", "", html, flags=re.DOTALL)


def test_sections_of_any_kind_render_from_data_alone():
    section = Section(
        slug="why",
        title="Why",
        finding="Because.",
        figures=(Numbers((Number("a", "1"),)), Notes(("b",)), Facts("c", (Fact("d", "e"),))),
        table=Table(
            "f", (Column("g"), Column("h", numeric=True)), ((Cell("i"), Cell("2", 2.0, bar=0.5, tone="bad")),), "j"
        ),
        method="k",
    )
    html = render_page("Title", "Explanation", [section])
    assert '<section id="why"' in html
    assert 'data-key="2.0"' in html
    assert "width: 50.0%" in html
    assert "vega" not in html.lower().replace("vegaembed(", "").replace(".vega-embed", ""), "no chart, no chart library"


def test_a_strangers_names_are_text_everywhere(audit):
    classes = [EVIL] + [f"c{k}" for k in range(9)]
    record, samples, classes, tiles = audit(
        classes=classes, model=EVIL, notes=[EVIL], command=EVIL, environment={EVIL: EVIL}
    )
    record["data"]["name"] = EVIL
    record["trust"]["checks"][0]["message"] = EVIL
    record["stages"][0]["name"] = EVIL
    record["eps_text"] = EVIL
    html = render_audit(record, samples, classes, tiles)
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert html.count("&lt;script&gt;alert") > 5


def test_nothing_is_loaded_and_the_policy_forbids_it(audit):
    html = render_audit(*audit())
    assert "default-src 'none'" in html
    sources = re.findall(r"<[a-z]+\b[^>]*\b(?:src|href)=\"([^\"]*)\"", without_scripts(html))
    assert len(sources) > 20
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"@import|url\((?!data:)", re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0])


def test_the_page_stays_under_three_megabytes_beside_its_images(audit):
    html = render_audit(
        *audit(
            n=10_000, classes=[f"a rather long name of a class {k}" for k in range(1000)], channels=3, side=227, tiles=2
        )
    )
    rest = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]*", "", html)
    assert len(html) > len(rest) + 100_000
    assert len(rest.encode()) <= 3_000_000


def test_every_picture_has_a_text_and_headings_do_not_skip(audit):
    html = render_audit(*audit())
    assert '<html lang="en">' in html
    images = re.findall(r"<img\b[^>]*>", without_scripts(html))
    assert len(images) == 6 * 9
    assert all(re.search(r'alt="[^"]+"', image) for image in images)
    levels = [int(level) for level in re.findall(r"<h([1-6])\b", html)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_the_same_record_gives_the_same_page(audit):
    assert render_audit(*audit()) == render_audit(*audit())
