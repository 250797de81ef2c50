"""The report as JSON: read back strictly, described by a published schema, and refused where it is anything else."""

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sam_lsac.report
from sam_lsac.__main__ import main
from sam_lsac.claims import Finding
from sam_lsac.claims.verdict import LookTaken
from sam_lsac.errors import InputError, StoreError
from sam_lsac.report import from_json, junit_properties, to_json
from sam_lsac.report.json import schema_text
from sam_lsac.report.looks import sequential
from tests.report_sample import simulated_report, with_verdict


@pytest.fixture(scope="module")
def report():
    return simulated_report()


@pytest.fixture(scope="module")
def bare():
    return simulated_report(bare=True)


def test_json_is_read_back_as_the_same_report(report, bare, tmp_path):
    for one in (report, bare):
        text = to_json(one)
        assert from_json(text) == one
        file = tmp_path / "report.json"
        file.write_text(text, encoding="utf-8")
        assert from_json(file) == one
        assert from_json(str(file)) == one
    assert list(json.loads(text))[:2] == ["schema", "version"]


def test_infinities_survive_and_nan_becomes_null(report):
    odd = Finding(quantity="loss", estimate=1.0, d=math.inf, d_low=-math.inf, p=math.nan)
    read = from_json(to_json(with_verdict(report, "LS3", findings=(odd,)))).verdict("LS3").findings[0]
    assert (read.d, read.d_low, read.p) == (math.inf, -math.inf, None)


def broken(report, path, value):
    """Return the report's JSON with one place changed; `value` is put there, or removed if it is ..."""
    data = json.loads(to_json(report))
    place = data
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("version",), 1, "version 1 and this code reads 5: write the report again"),
        (("version",), 2, "version 2 and this code reads 5"),
        (("version",), ..., "version None"),
        (("schema",), "other", "is not a report"),
        (("claims", 0, "verdct"), "x", "unknown key 'verdct': did you mean 'verdict'"),
        (("claims", 0, "verdict", "reason"), ..., "reason is missing"),
        (("claims", 0, "verdict", "status"), "passed", "unknown status 'passed': choose from supported"),
        (("claims", 0, "verdict", "n"), 2.5, "must be a valid integer"),
        (("claims", 0, "verdict", "n"), True, "must be a valid integer"),
        (("claims", 0, "verdict", "findings", 0, "estimate"), "much", "must be a valid number"),
        (("claims", 0, "quote"), 3, "must be a valid string"),
        (("claims", 0, "verdict"), [], "claims.0..verdict: must be"),
        (("claims",), {}, "claims: must be a valid"),
        (("claims", 0, "id"), "DP2", "there twice"),
        (("claims", 0, "verdict", "claim_id"), "DP2", "DP1 has the verdict of DP2"),
        (("environment", "mixtures"), 3, "environment.mixtures: must be an object"),
        (("alpha",), None, "alpha: must be a valid number"),
        (("alpha",), "inf", "alpha: must be a valid number"),
        (("claims", 0, "selected"), ..., "selected is missing"),
        (("claims", 0, "verdict", "tiers"), {"clean": "fine"}, "choose from supported"),
    ],
)  # fmt: skip
def test_json_that_is_not_a_report_is_a_store_error(report, path, value, words):
    with pytest.raises(StoreError, match=words):
        from_json(broken(report, path, value))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"schema": 1e999}',
        '{"a":' * 100_000,
        '{"schema": NaN}',
        '{"schema": "sam_lsac.report", "version": Infinity}',
    ],
    ids=["cut", "beyond", "deep", "nan", "infinity"],
)
def test_text_that_is_not_json_is_a_store_error(text):
    with pytest.raises(StoreError, match="is not JSON"):
        from_json(text)


def test_a_missing_file_and_a_binary_one_are_errors_with_a_remedy(tmp_path):
    with pytest.raises(InputError, match=r"pass the report\.json"):
        from_json(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match="write the report again"):
        from_json(tmp_path / "binary.json")


def test_junit_gets_the_verdict_and_every_figure(report):
    verdict = report.verdict("LS3")
    properties = dict(junit_properties(verdict))
    assert (properties["claim"], properties["verdict"], properties["n"]) == ("LS3", verdict.status, "24")
    assert properties["deviation/clean/si_snr/lsac-balanced/baseline"].endswith("]")
    assert (properties["scope"], properties["n_failed"], properties["pairs_needed"]) == (verdict.scope, "0", "")
    assert dict(junit_properties(replace(verdict, n_failed=3, pairs_needed=70)))["n_failed"] == "3"
    assert dict(junit_properties(replace(verdict, n_failed=3, pairs_needed=70)))["pairs_needed"] == "70"
    assert len(junit_properties(verdict)) == 8 + len(verdict.tiers) + len(verdict.findings)
    tiers = {"verdict/clean": "refuted", "verdict/env": "not run"}
    judged = with_verdict(report, "LS3", tiers={"clean": "refuted", "env": "not run"}).verdict("LS3")
    assert tiers.items() <= dict(junit_properties(judged)).items()


# --------------------------------------------------------------------------------------------------------------- schema

SCHEMA = Path(sam_lsac.report.__file__).with_name("report.schema.json")


def refused(data):
    """Return how many errors another reader of the published schema finds."""
    return len(list(jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).iter_errors(data)))


def test_the_published_schema_is_that_of_the_code(capsys):
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run: python -m sam_lsac report --schema > " + str(
        SCHEMA
    )
    assert main(["report", "--schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


def test_another_reader_of_the_schema_accepts_a_report(report, bare):
    odd = Finding(quantity="loss", estimate=1.0, d=math.inf, d_low=-math.inf, p=math.nan)
    for one in (report, bare, simulated_report(only=("LS2",)), with_verdict(report, "LS3", findings=(odd,))):
        assert refused(json.loads(to_json(one))) == 0


def test_a_sequential_report_is_written_and_read_with_its_looks(report):
    look = LookTaken(number=2, of=4, mixtures=16, planned=24, level=1e-3, refutation_level=2e-4)
    judged = replace(with_verdict(report, "LS4", looks={"noisy": look}), sequential=sequential({"noisy": 24}))
    text = to_json(judged)
    assert from_json(text) == judged
    assert from_json(text).verdict("LS4").looks == {"noisy": look}
    data = json.loads(text)
    assert refused(data) == 0
    data["sequential"]["sixths"] = "all"
    assert refused(data) > 0
    with pytest.raises(StoreError):
        from_json(json.dumps(data))
    assert json.loads(to_json(report))["sequential"] is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("other",), 1),
        (("version",), 1),
        (("claims", 0, "verdct"), "x"),
        (("claims", 0, "verdict", "findings", 0, "d"), "infinite"),
        (("claims", 0, "verdict", "tiers"), {"clean": "fine"}),
        (("claims", 0, "selected"), "yes"),
        (("claims", 0, "quote"), 3),
        (("claims", 0, "verdict", "n"), 2.5),
        (("claims", 0, "id"), ...),
        (("tables", "arms", 0, "cells", 0, "n"), None),
        (("environment", "mixtures", "clean"), "many"),
        (("alpha",), None),
    ],
)
def test_schema_and_reader_refuse_the_same(report, path, value):
    text = broken(report, path, value)
    assert refused(json.loads(text)) > 0
    with pytest.raises(StoreError):
        from_json(text)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(data, path=()):
    """Return the path of every value."""
    yield path
    inner = data.items() if isinstance(data, dict) else enumerate(data[:2]) if isinstance(data, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_junk_anywhere_is_a_store_error_or_a_report(small, data):
    path = data.draw(st.sampled_from(small[1]))
    value = data.draw(JUNK | st.just(...))
    changed = json.loads(small[0])
    place = changed
    for key in path[:-1]:
        place = place[key]
    if not path:
        changed = value if value is not ... else []
    elif value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    text = json.dumps(changed)
    try:
        read = from_json(text if text.startswith("{") else "{" + text)
    except StoreError:
        return
    assert from_json(to_json(read)) == read
    assert refused(changed) == 0


@pytest.fixture(scope="module")
def small():
    """A short report as JSON text, and the paths of its values."""
    report = simulated_report(only=("LS2", "LS3"))
    text = to_json(replace(report, claims=report.judged, tables=replace(report.tables, freezing=(), gate=())))
    return text, list(places(json.loads(text)))


def test_the_command_without_two_reports_says_what_it_needs(capsys):
    assert main(["report", "new.json"]) == 2
    assert "two reports are needed" in capsys.readouterr().err
