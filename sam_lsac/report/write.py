"""The report as files: HTML for reading, Markdown for a pull request, JSON for the next comparison."""

from pathlib import Path

from sam_lsac.errors import StoreError
from sam_lsac.report.html import to_html
from sam_lsac.report.json import to_json
from sam_lsac.report.markdown import to_markdown
from sam_lsac.report.model import Report

__all__ = ["write_report"]

FORMS = {"report.html": to_html, "report.md": to_markdown, "report.json": to_json}


def write_report(report: Report, folder: Path | str) -> tuple[Path, ...]:
    """Write report.html, report.md and report.json into a folder, each whole or not at all.

    Parameters
    ----------
    report : Report
    folder : path
        Made where it does not exist; files of an earlier report are replaced.

    Returns
    -------
    tuple of Path
        The three files.

    Raises
    ------
    StoreError
        If the folder cannot be made or written to.
    """
    home = Path(folder)
    texts = {name: form(report) for name, form in FORMS.items()}
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            unfinished = home / f".{name}.unfinished"
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(home / name)
    except OSError as error:
        raise StoreError(f"cannot write the report to {home} ({error.strerror}): give another folder") from error
    return tuple(home / name for name in FORMS)
