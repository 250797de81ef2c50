"""The report as files: HTML for reading, Markdown for a pull request, JSON for the next comparison."""

from pathlib import Path

from sam_lsac.errors import StoreError
from sam_lsac.report.html import to_html
from sam_lsac.report.json import to_json
from sam_lsac.report.markdown import to_markdown
from sam_lsac.report.model import Report
from sam_lsac.whole_files import remove_abandoned, whole_files

__all__ = ["write_report", "write_whole"]

FORMS = {"report.html": to_html, "report.md": to_markdown, "report.json": to_json}


def write_report(report: Report, folder: Path | str) -> tuple[Path, ...]:
    """Write report.html, report.md and report.json into a folder, each whole or not at all.

    Parameters
    ----------
    report
        Any.
    folder
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
    texts = {name: form(report) for name, form in FORMS.items()}
    return tuple(write_whole(Path(folder) / name, text) for name, text in texts.items())


def write_whole(file: Path, text: str) -> Path:
    """Write a file so that, whatever happens, it is there whole, or as it was before; its folder is made.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(file.parent)
        with whole_files(file) as (unfinished,):
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write the report to {file.parent} ({error.strerror}): give another folder") from error
    return file
