"""What a run of the suite found, for people and for programs.

``build_report`` gathers verdicts, ledger, costs and environment into one `Report`; the other functions show it: as
text in a terminal, as one self-contained HTML file, as Markdown, and as JSON that later runs are compared with. All
show the same: what was judged first, then by name the claims that the run was not asked for. What a report says besides
(headings, caveats, which arm is the reference) are the views of the book; no claim, arm or layer is named here.

=============  =========================================================================================
module         subject
=============  =========================================================================================
model          the report's data; `tables`, `caveats` and `costs` compute its parts
advice         what to ship: the cheapest setting that holds; `settings` are what can be, `shipping` says it in words
frontier       what settings save against what they change
variance       where a metric's variance lies: mixtures, noise seeds, the rest
environment    where and from what it was made
evidence       what stands behind a verdict besides its estimates: groups, rare failures, counts
extras         sounds, curves and matrices, which no ledger holds
terminal       text of 80 columns or more, with or without colour
html           the page; `plots`, `frontier_plot` and `figures` draw, templates/ holds its words and its style
markdown       the same in short, and in shorter for a job's page
json           JSON of a stated schema version, read back strictly; properties of a JUnit case
compare        what changed between two reports
flips          whether a flipped verdict is beyond noise
history        earlier reports, kept and found again
badge          an SVG for a README
write          all files into a folder
=============  =========================================================================================
"""

from sam_lsac.report.compare import Change, Comparison, compare
from sam_lsac.report.environment import Environment, environment
from sam_lsac.report.extras import AttentionMap, Extras, NoiseFloor, Player
from sam_lsac.report.html import to_html
from sam_lsac.report.json import from_json, junit_properties, to_json
from sam_lsac.report.markdown import to_markdown
from sam_lsac.report.model import ClaimRow, Report, build_report
from sam_lsac.report.terminal import arms_table, summary_line, terminal_text, verdict_table
from sam_lsac.report.write import write_report

__all__ = [
    "AttentionMap",
    "Change",
    "ClaimRow",
    "Comparison",
    "Environment",
    "Extras",
    "NoiseFloor",
    "Player",
    "Report",
    "arms_table",
    "build_report",
    "compare",
    "environment",
    "from_json",
    "junit_properties",
    "summary_line",
    "terminal_text",
    "to_html",
    "to_json",
    "to_markdown",
    "verdict_table",
    "write_report",
]
