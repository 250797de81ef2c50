"""Tables, notes and manifests of other people: damage is named with its line, and no name leads out of the folder."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam_lsac.errors import InputError
from sam_lsac.mixtures import fixture, load_mixtures
from sam_lsac.mixtures.boundary import Boundary
from sam_lsac.mixtures.tables import LONGEST_CELL, read_table, read_text
from tests.test_readers import make_esc50, make_fsd50k, make_librispeech, make_stems, write_wave

MANIFEST = (fixture.MIXTURES_FOLDER / "manifest.toml").read_text("utf-8")


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    return make_esc50(tmp_path / "esc50", n_clips=2)


def table_of(folder: Path) -> Path:
    return folder / "meta" / "esc50.csv"


def change(folder: Path, column: str, value: str, *, row: int = 1) -> None:
    """Write something else into one cell of an ESC-50 table."""
    with table_of(folder).open(newline="") as file:
        rows = list(csv.reader(file))
    rows[row][rows[0].index(column)] = value
    with table_of(folder).open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1-caf\xe9.wav,1,0,dog,False,1,A", r"line 2: not UTF-8"),
        (b"a\0b.wav,1,0,dog,False,1,A", r"line 2: holds a NUL"),
        (b"a.wav,1,0", r"line 2: 3 cells where there are 7 columns"),
        (b"a.wav,1,0,dog,False,1,A,more", r"line 2: 8 cells where there are 7 columns"),
        (b"a.wav,1,0," + b"x" * (LONGEST_CELL + 1) + b",False,1,A", r"line 2: a cell of over"),
        (b"a.wav,1,0," + b"x" * 200_000 + b",False,1,A", r"line 2: field larger than field limit"),
        (b",1,0,dog,False,1,A", r"line 2: '' is no name of a file"),
        (b"a.wav,1,0,(_),False,1,A", r"line 2: '\(_\)' names no sound"),
    ],
)
def test_a_damaged_row_is_named_with_its_line(esc50: Path, line: bytes, message: str) -> None:
    first, _, *rest = table_of(esc50).read_bytes().splitlines()
    table_of(esc50).write_bytes(b"\n".join([first, line, *rest]))

    with pytest.raises(InputError, match=rf"esc50.csv, {message}.*put the corpus's own table there"):
        load_mixtures(esc50, tiers=["env"])


def test_a_table_larger_than_any_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a" * 1001)

    with pytest.raises(InputError, match="1001 bytes, more than the 1000 of any such file; shorten it"):
        read_text(tmp_path / "t", remedy="shorten it", most_bytes=1000)


def test_a_byte_order_mark_is_no_part_of_the_first_column(esc50: Path) -> None:
    whole = load_mixtures(esc50, tiers=["env"], per_tier=2)
    table_of(esc50).write_bytes(b"\xef\xbb\xbf" + table_of(esc50).read_bytes())

    assert [one.digest for one in load_mixtures(esc50, tiers=["env"], per_tier=2)] == [one.digest for one in whole]


@pytest.mark.parametrize("line", ["61 | M | test-clean", "61", "61 M test-clean 8.08 Paul"])
def test_a_short_row_of_speakers_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    table = make_librispeech(tmp_path, n_utterances=1) / "SPEAKERS.TXT"
    table.write_text(f"; readers\n\n{line}\n" + table.read_text())

    with pytest.raises(InputError, match=r"SPEAKERS.TXT, line 3: not ID \| SEX \| SUBSET \| MINUTES \| NAME; put"):
        load_mixtures(tmp_path, tiers=["clean"])


def test_a_readers_name_may_hold_the_separator(tmp_path: Path) -> None:
    table = make_librispeech(tmp_path, n_utterances=1) / "SPEAKERS.TXT"
    table.write_text(table.read_text().replace("Brad B.", "|CBW|Simon"))

    mixtures = load_mixtures(tmp_path, tiers=["clean"], per_tier=8)

    assert any(credit.startswith("|CBW|Simon, LibriSpeech reader 260") for one in mixtures for credit in one.credits)


class TestNothingOutsideTheFolder:
    @pytest.fixture
    def outside(self, tmp_path: Path) -> Path:
        path = tmp_path / "elsewhere" / "secret.wav"
        write_wave(path, rate=44_100)
        return path

    @pytest.mark.parametrize("form", ["../../elsewhere/secret.wav", "ABSOLUTE", "..", "sub/../x.wav", "a\\b.wav"])
    def test_names_with_a_path_are_refused(self, esc50: Path, outside: Path, form: str) -> None:
        change(esc50, "filename", str(outside) if form == "ABSOLUTE" else form)

        with pytest.raises(InputError, match=r"line 2: .* is no name of a file in the corpus; put"):
            load_mixtures(esc50, tiers=["env"])

    def test_the_names_of_fsd50k_are_checked_too(self, tmp_path: Path) -> None:
        folder = make_fsd50k(tmp_path, parts=("dev",))
        table = folder / "FSD50K.ground_truth" / "dev.csv"
        table.write_text(table.read_text().replace("003,", "../../003,", 1))

        with pytest.raises(InputError, match=r"dev.csv, line 2: '../../003' is no name of a file"):
            load_mixtures(folder, tiers=["env"])

    def test_where_it_is_allowed_they_are_followed(self, esc50: Path, outside: Path) -> None:
        for row in range(1, 9):
            change(esc50, "filename", "../../elsewhere/secret.wav", row=row)

        mixtures = load_mixtures(esc50, tiers=["env"], per_tier=1, follow_outside=True)

        assert len(mixtures) == 1

    @pytest.mark.parametrize("what", ["recording", "table", "folder of audio"])
    def test_links_of_a_corpus_are_refused(self, tmp_path: Path, esc50: Path, what: str) -> None:
        aside = tmp_path / "aside"
        aside.mkdir()
        links = {
            "recording": sorted((esc50 / "audio").iterdir()),
            "table": [table_of(esc50)],
            "folder of audio": [esc50 / "audio"],
        }[what]
        for link in links:
            shutil.move(link, aside / link.name)
            link.symlink_to(aside / link.name)

        with pytest.raises(InputError, match=r"leads out of .*; remove it, or pass follow_outside=True"):
            load_mixtures(esc50, tiers=["env"])
        assert load_mixtures(esc50, tiers=["env"], per_tier=1, follow_outside=True)

    @pytest.mark.parametrize("what", ["SPEAKERS.TXT", "test-clean/61/70968/61-70968-0000.flac"])
    def test_links_of_librispeech_are_refused(self, tmp_path: Path, what: str) -> None:
        folder = make_librispeech(tmp_path / "inside", n_utterances=1)
        (tmp_path / "aside").write_bytes((folder / what).read_bytes())
        (folder / what).unlink()
        (folder / what).symlink_to(tmp_path / "aside")

        with pytest.raises(InputError, match="leads out of"):
            load_mixtures(folder, tiers=["clean"])
        assert len(load_mixtures(folder, tiers=["clean"], follow_outside=True)) == 4

    @pytest.mark.parametrize("what", ["target.wav", "residual.wav", "prompt.txt", "."])
    def test_links_of_stems_are_refused(self, tmp_path: Path, what: str) -> None:
        link = make_stems(tmp_path / "inside", "barks") / what
        shutil.move(link.resolve(), tmp_path / "aside")
        (tmp_path / "inside" / "barks" / what).parent.mkdir(exist_ok=True)
        (tmp_path / "inside" / "barks" if what == "." else link).symlink_to(tmp_path / "aside")

        with pytest.raises(InputError, match="leads out of"):
            load_mixtures(tmp_path / "inside")
        assert len(load_mixtures(tmp_path / "inside", follow_outside=True)) == 1

    def test_links_inside_the_folder_are_followed(self, tmp_path: Path) -> None:
        folder = make_stems(tmp_path, "barks")
        (folder / "target.wav").rename(folder / "wanted.dat")
        (folder / "target.wav").symlink_to(folder / "wanted.dat")

        assert len(load_mixtures(tmp_path)) == 1

    def test_a_folder_that_is_itself_a_link_is_what_the_user_gave(self, tmp_path: Path) -> None:
        make_stems(tmp_path / "real", "barks")
        (tmp_path / "link").symlink_to(tmp_path / "real")

        assert len(load_mixtures(tmp_path / "link")) == 1

    @pytest.mark.parametrize("file", ["../../secret.flac", "/etc/passwd"])
    def test_the_manifest_of_the_cached_mixtures_is_held_to_it(self, copied: Path, file: str) -> None:
        first = MANIFEST.split('file = "', 1)[1].split('"', 1)[0]
        entries = [line for line in MANIFEST.splitlines() if line.startswith("target = ")]
        used = entries[0].split('"')[1]
        assert first
        (copied / "manifest.toml").write_text(MANIFEST.replace(f'"{used}"', f'"{file}"'), encoding="utf-8")

        with pytest.raises(InputError, match=r"leads out of .*; remove it, or pass follow_outside=True"):
            load_mixtures(tiers=["clean", "env"], per_tier=1)

    @pytest.mark.parametrize("name", ["loop", "x\0y", "n" * 5000])
    def test_names_that_lead_nowhere_are_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")

        with pytest.raises(InputError, match=r"names no file|is missing|does not decode"):
            fixture.read_wave(Boundary(folder=tmp_path).admit(tmp_path / name))


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The manifests alone, which the library then reads."""
    (tmp_path / "mixtures" / "cc-by-sa").mkdir(parents=True)
    for name in fixture.MANIFESTS:
        shutil.copy(fixture.MIXTURES_FOLDER / name, tmp_path / "mixtures" / name)
    monkeypatch.setattr(fixture, "MIXTURES_FOLDER", tmp_path / "mixtures")
    return tmp_path / "mixtures"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gains_db = [", "gains_db = [nan, ", "gains_db"),
        ("excerpt_start_s = ", "excerpt_start_s = -", "out of range"),
        ("excerpt_start_s = ", "excerpt_start_s = nan #", "excerpt_start_s: must be a finite number"),
        ("noise_seed = ", "noise_seed = -1 #", "out of range"),
        ("snr_db = ", "snr_db = 1e300 #", "beyond 200 dB"),
        ("clips = [", "clips = [5, ", r"clips\[0\]: must be a valid string"),
        ('group = "', 'group = 5 #"', "group: must be a valid string, got 5"),
        ('credit = "', 'credit = ["x"] #"', "credit: must be a valid string"),
    ],
)
def test_values_of_a_manifest_that_cannot_be_are_named(copied: Path, old: str, new: str, message: str) -> None:
    assert old in MANIFEST
    (copied / "manifest.toml").write_text(MANIFEST.replace(old, new), encoding="utf-8")

    with pytest.raises(InputError, match=message):
        load_mixtures(per_tier=1)


JUNK = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["../../x", "/etc/passwd", "\0", "", " ", "a" * 20_000, "\udcff", "NaN", "\n", '"', "..", "\r"]),
)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("corpora")
    make_stems(base / "stems", "one", notes={"prompt": "dog barking"})
    return {
        "esc50": make_esc50(base / "esc50", n_clips=2) / "meta" / "esc50.csv",
        "fsd50k": make_fsd50k(base / "fsd50k", n_clips=2) / "FSD50K.ground_truth" / "dev.csv",
        "librispeech": make_librispeech(base / "librispeech", n_utterances=1) / "SPEAKERS.TXT",
        "stems": base / "stems" / "one" / "mixture.json",
    }


@given(data=st.data(), kind=st.sampled_from(["esc50", "fsd50k", "librispeech"]), junk=JUNK, quoted=st.booleans())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_in_any_cell_is_read_or_refused(
    corpora: dict[str, Path], data: st.DataObject, kind: str, junk: str, quoted: bool
) -> None:
    table = corpora[kind]
    whole = table.read_bytes()
    separator = "|" if kind == "librispeech" else ","
    lines = whole.decode().splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    cells = lines[number].split(separator)
    cells[data.draw(st.integers(0, len(cells) - 1))] = f'"{junk}"' if quoted else junk
    lines[number] = separator.join(cells)
    root = table.parents[0] if kind == "librispeech" else table.parents[1]
    try:
        table.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
        load_mixtures(root, tiers=["clean"] if kind == "librispeech" else ["env"], per_tier=1)
    except InputError as error:
        assert str(error)
    finally:
        table.write_bytes(whole)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    key=st.sampled_from(
        [*["prompt", "target", "residual_prompt", "spans", "group", "credits", "tier", "subset"], "other"]
    ),
    value=VALUES,
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_in_any_note_is_read_or_refused(corpora: dict[str, Path], key: str, value: object) -> None:
    corpora["stems"].write_text(json.dumps({"prompt": "dog barking", key: value}))

    try:
        (one,) = load_mixtures(corpora["stems"].parents[1])
    except InputError as error:
        assert str(error)
    else:
        assert isinstance(one.group, str)
        assert all(isinstance(credit, str) for credit in one.credits)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"prompt": ' * 20_000, "", "null", "1" * 5000, '{"prompt": "\\ud800"}']
)
def test_notes_that_are_no_notes_are_refused(corpora: dict[str, Path], text: str) -> None:
    corpora["stems"].write_text(text)

    with pytest.raises(InputError, match=r"mixture\.json"):
        load_mixtures(corpora["stems"].parents[1])


@given(rows=st.lists(st.lists(st.text(max_size=5), max_size=4), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_csv_writes_is_read_back(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows([["a", "b"], *rows])

    try:
        read = read_table(path, ["a", "b"], remedy="mend it")
    except InputError as error:
        assert "t.csv" in str(error)
    else:
        assert [list(cells.values()) for _, cells in read] == [row for row in rows if row]
