"""What holds for all forms of a report: the same claims first, no escape codes, and no name of this book."""

import ast
import html
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import sam_lsac.report
from sam_lsac.claims import Ledger, Verdict, load_claims
from sam_lsac.claims.wording import MARKS
from sam_lsac.report import Extras, NoiseFloor, build_report, compare, terminal_text, to_html, to_markdown
from sam_lsac.report.badge import badge
from sam_lsac.report.markdown import summary
from sam_lsac.report.tables import SpeakerRow, Tables
from tests.report_sample import (
    CLAIMS,
    TIERS,
    quick_book,
    simulated_context,
    simulated_environment,
    simulated_ledger,
    simulated_report,
    simulated_verdicts,
)
from tests.test_report_html import Page, words

BOOK = quick_book()
ID = re.compile(r"[A-Z]{2}\d+")


# ------------------------------------------------------------------------------------------------- the same everywhere


@dataclass(frozen=True)
class Shown:
    """One claim as a form of the report shows it; `tiers` by name."""

    id: str
    status: str
    figures: tuple[str, ...]
    tiers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Read:
    """A form of the report, read back: the claims in tables, then the folded ids by line; and which came first."""

    claims: tuple[Shown, ...]
    folded: tuple[tuple[str, ...], ...]
    in_order: bool


def status_of(chip):
    """Return the status of "sign status", or of "sign tier", by its sign."""
    return {sign: status for status, sign in MARKS.items()}[chip.split()[0]]


def read_folded(lines):
    found = [line[line.index("Not in this run, ") :] for line in lines if "Not in this run, " in line]
    return tuple(tuple(re.findall(r"[A-Z]{2}\d+", line.rsplit(":", 1)[1])) for line in found)


def read_terminal(report):
    lines = terminal_text(report, width=400).splitlines()
    head = lines[0]
    cuts = [head.index(name) for name in ("ours [", "verdict", " n")] if "verdict" in head else []
    blocks = {}
    for line in lines:
        if line.startswith("Intervals are"):
            break
        if ID.match(line):
            blocks[line.split()[0]] = []
        if cuts and blocks and line[: cuts[0]].strip() != line.strip():
            blocks[list(blocks)[-1]].append((line[cuts[0] : cuts[1]].strip(), line[cuts[1] : cuts[2]].strip()))
    claims = []
    for name, cells in blocks.items():
        figures = tuple(left for left, _ in cells if left)
        chips = [right for _, right in cells if right]
        assert chips[0].split(maxsplit=1)[1] == status_of(chips[0]), chips
        tiers = tuple((chip.split()[1], status_of(chip)) for chip in chips[1:])
        claims.append(Shown(name, status_of(chips[0]), figures, tiers))
    folded = [index for index, line in enumerate(lines) if line.startswith("Not in this run")]
    last = max((index for index, line in enumerate(lines) if ID.match(line)), default=-1)
    return Read(tuple(claims), read_folded(lines), not folded or min(folded) > last)


def read_markdown(report):
    lines = to_markdown(report).splitlines()
    rows = [line for line in lines if re.match(r"\| [A-Z]{2}\d+ \|", line)]
    claims = []
    for line in rows:
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
        chip, *tiers = cells[4].split("<br>")
        assert chip.split(maxsplit=1)[1] == status_of(chip)
        named = tuple((tier.split()[1], status_of(tier)) for tier in tiers)
        claims.append(
            Shown(
                cells[0],
                status_of(chip),
                tuple(html.unescape(one.replace("\\", "")) for one in cells[3].split("<br>")),
                named,
            )
        )
    folded = [index for index, line in enumerate(lines) if "Not in this run" in line]
    last = max(map(lines.index, rows), default=-1)
    return Read(tuple(claims), read_folded(lines), not folded or min(folded) > last)


def read_html(report):
    page = to_html(report)
    claims = []
    for body in re.findall(r'<tbody id="[A-Z]{2}\d+">.*?</tbody>', page, flags=re.DOTALL):
        name = re.match(r'<tbody id="(\w+)"', body).group(1)
        ours = re.search(r'class="ours">(.*?)</td>', body, flags=re.DOTALL).group(1)
        cell = re.search(r'<td data-label="verdict">(.*?)</td>', body, flags=re.DOTALL).group(1)
        chip, _, rest = cell.partition('<span class="tiers">')
        chip = words(re.sub(r"<[^>]+>", "", chip))
        assert chip.split(maxsplit=1)[1] == status_of(chip)
        tiers = re.findall(r'<span class="[\w-]+" title="([\w ]+)">(.*?)</span>', rest)
        assert all(status == status_of(text) for status, text in tiers)
        figures = tuple(html.unescape(one) for one in re.findall("<span>(.*?)</span>", ours))
        claims.append(
            Shown(name, status_of(chip), figures or (words(ours),), tuple((t.split()[1], s) for s, t in tiers))
        )
    folded = re.findall(r"<li>(Not in this run.*?)</li>", page)
    first = page.index("Not in this run") if folded else len(page)
    return Read(tuple(claims), read_folded(folded), page.rfind("<tbody id=", 0, first) == page.rfind("<tbody id="))


def selection(name):
    """Return the verdicts of a selection."""
    verdicts = simulated_verdicts()
    if name == "all":
        return verdicts
    if name == "one claim":
        return tuple(one for one in verdicts if one.claim_id == "GH3")
    if name == "one tier":
        (whole,) = (one for one in verdicts if one.claim_id == "GH3")
        mine = tuple(one for one in whole.findings if one.tier == "noisy")
        reason = "Judged on noisy alone: supported."
        part = Verdict(claim_id="GH3", status="not run", reason=reason, findings=mine, tiers={"noisy": "supported"})
        return (part,)
    return ()


@pytest.mark.parametrize("read", [read_terminal, read_markdown, read_html], ids=["terminal", "markdown", "html"])
@pytest.mark.parametrize("name", ["all", "one claim", "one tier", "nothing"])
def test_every_form_shows_the_same_claims_first_and_folds_the_same(read, name):
    verdicts = selection(name)
    ledger = simulated_ledger(BOOK, n=3) if verdicts else Ledger(())
    context = simulated_context()
    report = build_report(BOOK, verdicts, ledger, context, environment=simulated_environment(context))
    report = replace(report, tables=replace(Tables(), arms=report.tables.arms[:1]))  # the rest takes long to draw
    judged = {one.claim_id: one for one in verdicts}
    found = read(report)
    assert [(one.id, one.status, dict(one.tiers)) for one in found.claims] == [
        (claim.id, judged[claim.id].status, dict(judged[claim.id].tiers)) for claim in BOOK.claims if claim.id in judged
    ]
    ours = {row.id: row.ours for row in report.claims}
    for one in found.claims:
        if ours[one.id]:
            assert one.figures == ours[one.id], one.id
    topics = {}
    for claim in BOOK.claims:
        if claim.id not in judged:
            topics.setdefault(claim.id[:2], []).append(claim.id)
    assert found.folded == tuple(map(tuple, topics.values()))
    assert found.in_order


@pytest.mark.parametrize("form", [terminal_text, to_markdown, to_html], ids=["terminal", "markdown", "html"])
def test_a_note_stands_with_the_claims_that_it_is_about(form):
    (note,) = BOOK.views.notes.values()
    begins = " ".join(note.split()[:6])
    context = simulated_context()
    for verdicts, shown in ((selection("all"), 1), (selection("one claim"), 0)):
        ledger = simulated_ledger(BOOK, n=3)
        report = build_report(BOOK, verdicts, ledger, context, environment=simulated_environment(context))
        text = html.unescape(" ".join(form(replace(report, tables=Tables())).split()))
        assert text.count(begins) == shown


def test_the_sample_has_tiers_of_every_sign():
    """Otherwise the test above could not see that two are swapped."""
    tiers = [dict(one.tiers) for one in simulated_verdicts()]
    assert {status for one in tiers for status in one.values()} >= {"supported", "inconclusive", "refuted"}
    assert any(len(set(one.values())) > 1 and list(one) == list(TIERS) for one in tiers)


def test_empty_sections_are_named_in_one_line_and_not_shown():
    report = replace(simulated_report(only=("LS2",)), tables=Tables(), extras=Extras(), caveats=())
    page = Page(to_html(report))
    headings = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert headings == ["verdicts", "advice", "environment"]
    assert [link for link in page.links if link.startswith("#")] == ["#verdicts", "#advice", "#environment"]
    said = words(page.texts["empty"])
    for name in ("Tables", "Convergence", "The span gate", "By speaker", "Listen", "Noise floor", "To keep in mind"):
        assert name in said, name
    assert "without -k and --replay" in said
    assert "## Arms" not in to_markdown(report)
    assert "To keep in mind" not in to_markdown(report)
    full = Page(
        to_html(replace(report, extras=Extras(noise_floor=(NoiseFloor(metric="sar", mean=0, largest=0, n=1),))))
    )
    assert "Noise floor" not in words(full.texts["empty"])
    assert "floor" in full.ids


# ------------------------------------------------------------------------------------------------- text from outside

ESCAPE = "\x1b[2J\x1b[31mred\x07\x9b1A\u202egnp.exe\u2066\ud800\nLS1 forged\r"


def hostile():
    report = simulated_report(only=("LS2", "GH1"))
    rows = tuple(
        replace(row, quote=ESCAPE, paper=ESCAPE, verdict=replace(row.verdict, reason=ESCAPE, tiers={ESCAPE: "refuted"}))
        for row in report.claims
    )
    return replace(
        report,
        environment=replace(report.environment, checkpoint=ESCAPE, mixtures={ESCAPE: 3}),
        claims=rows,
        tables=Tables(
            arms=(replace(report.tables.arms[0], arm=ESCAPE),),
            speakers=(SpeakerRow(tier="clean", group=ESCAPE, n=1, baseline=1.0, deviations={ESCAPE: 0.1}),),
        ),
        caveats=tuple(replace(one, ours=ESCAPE) for one in report.caveats),
        extras=Extras(players=(replace(report.extras.players[0], prompt=ESCAPE, notes={"baseline": ESCAPE}),)),
    )


@pytest.mark.parametrize(
    "form",
    [
        lambda report: terminal_text(report, reasons=True),
        to_markdown,
        to_html,
        summary,
        badge,
        lambda report: str(compare(simulated_report(), report)),
        lambda report: summary(report, compare(simulated_report(), report)),
    ],
    ids=["terminal", "markdown", "html", "summary", "badge", "comparison", "summary of comparison"],
)
def test_control_characters_are_written_out(form):
    text = form(hostile())
    assert not re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", text)
    text.encode("utf-8")
    assert "\\x1b[2J" in text.replace("\\\\x1b", "\\x1b")
    assert not [line for line in text.splitlines() if line.startswith("LS1 forged")]


def test_a_terminal_in_colour_has_its_own_codes_alone():
    text = terminal_text(hostile(), colour=True, reasons=True)
    assert set(re.findall("\x1b.[^m]*m?", text)) <= set(re.findall("\x1b\\[[0-9;]*m", text))


def test_markup_of_the_terminals_library_is_text():
    report = simulated_report(only=("LS2",))
    arms = (replace(report.tables.arms[0], arm="[red]arm[/red]", solver="[bold]"),)
    text = terminal_text(replace(report, tables=replace(report.tables, arms=arms)))
    assert "[red]arm[/red]" in text
    assert "[bold]" in text


def test_markdown_makes_no_link_image_or_code_of_a_name():
    report = simulated_report(only=("LS2",))
    seen = replace(report.environment, checkpoint="![x](https://example.org/x.png) `code`")
    for form in (to_markdown, summary):
        text = form(replace(report, environment=seen))
        assert "![x]\\(https" in text
        assert "\\`code\\`" in text


# -------------------------------------------------------------------------------------------------- names of this book


def texts_of(file):
    """Return the text literals of a module that are no docstring, or the whole of a template."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return [text]
    tree = ast.parse(text)
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def named(texts):
    """Return every claim id, arm and layer of bench/claims.toml in these texts.

    "baseline" is a word of its own in prose and a field of records: it counts where it is all of a text.
    """
    book = load_claims(CLAIMS)
    ids = "|".join(claim.id for claim in book.claims)
    prefixes = "|".join({claim.id.rstrip("0123456789") for claim in book.claims})
    arms = "|".join(sorted((re.escape(arm) for arm in book.arms if arm != "baseline"), key=len, reverse=True))
    stems = "|".join({arm.split("-")[0] for arm in book.arms if arm.startswith(("lsac", "naive", "deepcache"))})
    pattern = re.compile(rf"\b({ids}|{arms}|L0[169])\b|^(baseline|{prefixes}|{stems})$|\b({stems})-|--({stems})\b")
    return [match.group() for text in texts for match in pattern.finditer(text)]


FILES = sorted(
    file
    for file in Path(sam_lsac.report.__file__).parent.rglob("*")
    if file.suffix in (".py", ".html", ".css") and file.name != "headline.py"
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_claim_arm_or_layer_is_named(file):
    assert named(texts_of(file)) == []


@pytest.mark.parametrize("text", ["LS1", "claim LS9)", "see naive-12 there", "baseline", "L06", "GH", "lsac-", "lsac"])
def test_a_name_would_be_found(text):
    assert named([text]) != []
