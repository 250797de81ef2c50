"""The page: complete, self-contained, honest about what is missing, and fit for a phone."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from typing import get_args

import numpy as np
import pytest
import soundfile

from sam_lsac.claims import Status
from sam_lsac.claims.wording import MARKS
from sam_lsac.report import Extras, to_html
from sam_lsac.report.tables import Tables
from tests.report_sample import TIERS, simulated_report

SECTIONS = (
    "verdicts", "advice", "caveats", "arms", "tables", "convergence", "gate", "speakers", "listen", "floor",
    "environment",
)  # fmt: skip


class Page(HTMLParser):
    """Collects ids, links, and the text of every element with an id."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags, self.texts, self.stack = [], [], [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
                self.links.append(value)
        if tag not in ("meta", "link", "br", "img", "input", "hr", "image", "use", "path"):
            self.stack.append((tag, dict(attrs).get("id")))

    def handle_endtag(self, tag):
        if any(open_tag == tag for open_tag, _ in self.stack):
            while self.stack.pop()[0] != tag:
                pass

    def handle_data(self, data):
        for _, name in self.stack:
            if name:
                self.texts[name] = self.texts.get(name, "") + data


@pytest.fixture(scope="module")
def report():
    return simulated_report()


@pytest.fixture(scope="module")
def page(report):
    return to_html(report)


@pytest.fixture(scope="module")
def bare():
    return simulated_report(bare=True)


@pytest.fixture(scope="module")
def bare_page(bare):
    return to_html(bare)


@pytest.fixture(scope="module")
def light(report):
    """The report without figures and sounds, which take long to draw."""
    return replace(report, tables=Tables(), extras=Extras())


def words(text):
    return " ".join(text.split())


# -------------------------------------------------------------------------------------------------------------- content


def test_sections_are_reached_from_the_top_and_none_is_empty(page, bare_page):
    for text, sections in ((page, SECTIONS), (bare_page, ("verdicts", "advice", "caveats", "environment"))):
        seen = Page(text)
        assert [attrs["id"] for tag, attrs in seen.tags if tag == "section"] == list(sections)
        assert {link for link in seen.links if link.startswith("#") and link[1:] in seen.ids} >= {
            f"#{name}" for name in sections
        }
        assert not {f"#{name}" for name in set(SECTIONS) - set(sections)} & set(seen.links)


def test_every_claim_shows_quote_figures_and_its_own_verdict(page, report):
    seen = Page(page)
    for row in report.claims:
        text = words(seen.texts[row.id])
        for part in (row.quote, row.paper, *row.ours, *row.cost, row.verdict.reason):
            assert words(part) in text, (row.id, part)
        head = text.split(words(row.verdict.reason))[0]
        statuses = [status for status in get_args(Status) if f"{MARKS[status]} {status}" in head]
        assert statuses == [row.verdict.status], row.id
        assert all(f"{MARKS[status]} {tier}" in head for tier, status in row.verdict.tiers.items())


def test_a_changed_verdict_changes_the_chip(light):
    rows = tuple(
        replace(row, verdict=replace(row.verdict, status="refuted")) if row.id == "GH1" else row for row in light.claims
    )
    head = words(Page(to_html(replace(light, claims=rows))).texts["GH1"]).split(words(light.verdict("GH1").reason))[0]
    assert "✗ refuted" in head
    assert "supported" not in head


def test_a_claim_that_is_left_out_is_missed(light):
    fewer = replace(light, claims=tuple(row for row in light.claims if row.id != "LS8"))
    assert "LS8" not in Page(to_html(fewer)).ids


def test_every_finding_behind_a_verdict_is_shown(page, report):
    text = words(Page(page).texts["LS7"])
    findings = report.verdict("LS7").findings
    assert text.count(" against ") >= len(findings)
    assert all(f"{one.d:+.2f}" in text for one in findings if abs(one.d) >= 0.005)


def test_the_caveats_are_boxes_with_our_figures(page, report):
    text = words(Page(page).texts["caveats"])
    assert page.count('<article class="box"><h3>') == 6
    assert all(words(one.title) in text and words(one.ours) in text for one in report.caveats)


def test_figures_are_drawn_per_tier_on_both_axes(page):
    labels = [attrs["aria-label"] for tag, attrs in Page(page).tags if tag == "svg"]
    for tier in TIERS:
        for start in (
            "|SI-SNR deviation|, dB against layer-steps",
            "|SI-SNR deviation|, dB against total FLOPs",
            "Cohen's d of",
            "SI-SNR loss, dB against frozen",
            "Attention entropy of every layer",
        ):
            assert sum(label.startswith(start) and tier in label for label in labels) == 1, (start, tier)
    assert sum(label.startswith("Self-attention of layer") for label in labels) == 3
    assert sum("over the values of the gate" in label for label in labels) == 2


def test_a_claim_that_is_a_table_is_drawn_as_one(page, report):
    text = words(Page(page).texts["tables"])
    for one in report.verdict("DP5").findings:
        assert f"{one.estimate:.2f}" in text
        assert one.arm in text


def test_speakers_and_noise_floor_are_tables(page, report):
    seen = Page(page)
    assert all(row.group in seen.texts["speakers"] for row in report.tables.speakers)
    assert "simulated" in words(seen.texts["floor"]).split("largest")[1]


def test_sounds_are_16_bit_flac_of_the_given_waves(page, report):
    sources = [attrs["src"] for tag, attrs in Page(page).tags if tag == "audio"]
    assert len(sources) == 6 * 5
    head, data = sources[1].split(",")
    assert head == "data:audio/flac;base64"
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == 8000
    assert np.abs(wave - report.extras.players[0].tracks["target"]).max() < 2**-15


def test_without_runs_claims_are_there_and_nothing_is_drawn(bare, bare_page):
    seen = Page(bare_page)
    assert words(seen.texts["empty"]).startswith(
        "Nothing to show here for: The frontier, What arms save and lose, Tables, "
    )
    assert not [tag for tag, _ in seen.tags if tag in ("svg", "audio")]
    assert words(seen.texts["verdicts"]).count(f"{MARKS['not run']} not run") == len(bare.claims) > 0
    assert {row.verdict.status for row in bare.claims} == {"not run"}


def test_text_from_outside_is_escaped(light):
    hostile = "<script>alert(1)</script>"
    seen = replace(light.environment, checkpoint=hostile)
    rows = (replace(light.claims[0], quote=hostile), *light.claims[1:])
    text = to_html(replace(light, environment=seen, claims=rows))
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


# ------------------------------------------------------------------------------------------------------- self-contained


def test_nothing_is_fetched_and_nothing_runs(page, bare_page):
    for text in (page, bare_page):
        seen = Page(text)
        assert all(link.startswith(("#", "data:")) for link in seen.links)
        assert not [tag for tag, _ in seen.tags if tag in ("script", "link", "iframe", "object", "embed", "base")]
        assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
        assert not re.findall(r"url\((?!#)", text)
        assert "@import" not in text
        policies = [a["content"] for t, a in seen.tags if t == "meta" and a.get("http-equiv")]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"]


def test_ids_are_unique_and_references_are_met(page):
    seen = Page(page)
    assert [name for name, count in Counter(seen.ids).items() if count > 1] == []
    wanted = {link[1:] for link in seen.links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(seen.ids)


def test_colours_are_the_pages_in_light_and_dark(page):
    style = re.search(r"<style>(.*?)</style>", page, flags=re.DOTALL).group(1)
    light, dark = style.split("prefers-color-scheme: dark")
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    for name in set(re.findall(r"var\(--([\w-]+)\)", page)):
        assert f"--{name}:" in light, name
        assert f"--{name}:" in dark, name
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawings)) == set()
    unstyled = [text for text in re.findall(r"<text[^>]*>", drawings) if "fill: var(--" not in text]
    assert unstyled == []  # text without a fill is black, also on a dark page


# -------------------------------------------------------------------------------------------------------------- browser

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  document.querySelectorAll("details").forEach(one => { one.open = true; });
  const wide = [...document.querySelectorAll("body *")].filter(one => !one.closest("svg, .scroll")
    && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.tagName + "." + one.className);
  const fetched = performance.getEntriesByType("resource").map(one => one.name).filter(one => !one.startsWith("data:"));
  const small = [...document.querySelectorAll(".panel")].filter(one => one.getBoundingClientRect().width < 200).length;
  parent.postMessage(JSON.stringify({inner: innerWidth, scroll: document.documentElement.scrollWidth, wide, fetched,
    tall: Math.max(0, ...[...document.querySelectorAll(".evidence tr")].map(one => one.clientHeight)), small}), "*");
}, 50));
</script></body>"""
FRAME = """<!doctype html><iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>addEventListener("message", event => {{ document.body.dataset.result = event.data; }});</script>"""


def measured(text, folder, *, width):
    """Return what a browser of this width makes of the page, its details open; the policy makes way for the probe."""
    opened = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", PROBE)
    (folder / "page.html").write_text(opened, encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000",
         "--virtual-time-budget=4000", "--dump-dom", (folder / "frame.html").as_uri()],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    found = re.search(r'data-result="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found.group(1)))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine: install chromium to run this")
@pytest.mark.parametrize("width", [390, 820, 1200])
def test_a_browser_shows_no_horizontal_overflow_and_fetches_nothing(page, tmp_path, width):
    seen = measured(page, tmp_path, width=width)
    assert seen["inner"] == width
    assert seen["scroll"] <= width
    assert seen["wide"] == []
    assert seen["fetched"] == []
    assert seen["small"] == 0
    assert seen["tall"] < 60  # a row of figures is one line, not a stack of cells


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine: install chromium to run this")
def test_a_browser_shows_a_report_without_runs_on_a_phone(bare_page, tmp_path):
    seen = measured(bare_page, tmp_path, width=390)
    assert seen["scroll"] <= 390
    assert (seen["wide"], seen["fetched"]) == ([], [])
