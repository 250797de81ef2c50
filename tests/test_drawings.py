"""The embedded checkpoint's figures show its data, and the committed ones were drawn from the committed data."""

from __future__ import annotations

import json
import re

import pytest

from fixtures.training.draw import (
    CLASSES,
    FOLDER,
    LOGS,
    RUNS,
    TOO_NEAR,
    draw_entropy,
    draw_training,
    label_columns,
    source_digest,
)


@pytest.mark.parametrize(
    ("figure", "sources"), [("entropy.svg", [CLASSES]), ("training.svg", [RUNS / name for name in LOGS.values()])]
)
def test_the_committed_figure_was_drawn_from_the_committed_data(figure, sources) -> None:
    assert f"sha256:{source_digest(sources)}" in (FOLDER / figure).read_text(encoding="utf-8")


def test_every_layer_has_a_curve_through_all_its_steps(tmp_path) -> None:
    found = {"stable": [1], "moderate": [], "fast": [0, 2], "n_mixtures": 3}
    found["entropy"] = [[1.0, 2.0, 3.0], [3.0, 2.0, 2.0], [0.5, 0.4, 0.3]]
    (tmp_path / "classes.json").write_text(json.dumps(found), encoding="utf-8")
    draw_entropy(tmp_path / "classes.json", tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    for layer, colour in ((0, "#c4561a"), (1, "#1f6fb2"), (2, "#c4561a")):
        assert re.search(rf"fill: {colour}[^>]*>L{layer:02d}<", svg)
    curves = re.findall(r'<path d="((?:[ML] [\d.]+ [\d.]+ ?\n?){3})" clip-path', svg)
    assert len(curves) == 3
    first = [float(value) for value in re.findall(r"[ML] [\d.]+ ([\d.]+)", curves[0])]  # stable is drawn first
    assert first[0] < first[1] == first[2]  # down the page is less


def test_no_two_runs_share_a_colour(tmp_path) -> None:
    draw_training({name: RUNS / log for name, log in LOGS.items()}, tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    marks = re.findall(r'<use xlink:href="#\w+" x="[\d.]+" y="[\d.]+" style="fill: (#\w+)', svg)
    assert len(set(marks)) == len(LOGS)


def test_labels_that_would_cover_each_other_stand_in_columns_of_their_own() -> None:
    step = 0.7 * TOO_NEAR
    assert label_columns([0.0, step, 2 * step, 9 * step]) == [0, 1, 0, 0]
    assert label_columns([0.0, 2 * step, step, step]) == [0, 0, 1, 2]


def test_runs_follow_each_other(tmp_path) -> None:
    header = "step,error_at_0.01,si_snr_improvement_db\n"
    logs = {}
    for name, text in {"run 2": "100,0.5,\n200,0.4,1.0\n", "run 3": "50,0.3,2.0\n"}.items():
        logs[name] = tmp_path / f"{name}.csv"
        logs[name].write_text(header + text, encoding="utf-8")
    draw_training(logs, tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "run 2" in svg
    assert "run 3" in svg
    assert f"sha256:{source_digest(list(logs.values()))}" in svg
    marks = [float(x) for x in re.findall(r'<use xlink:href="#\w+" x="([\d.]+)" y="[\d.]+" style="fill: #', svg)]
    errors, improvements = marks[:3], marks[5:]  # between them, those of the legend
    assert errors == sorted(set(errors))
    assert len(marks) == 7
    assert improvements == errors[1:]  # the first row was not solved
