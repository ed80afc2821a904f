"""Tables of one's own: what is linked, what is refused, and that nothing of it is silent."""

import json
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from test_manifest import load, rows_of, write
from trees import picture

from dfa_lib.instruct.__main__ import main
from dfa_lib.instruct.readers.folders import imagefolder
from dfa_lib.instruct.readers.table import table
from dfa_lib.instruct.rows import Row, Skip
from dfa_lib.instruct.splits import assign_splits
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Split

Cells = dict[str, object]


def real(name: str, **more: object) -> Cells:
    return {"path": name, "label": "real", "person": "", "counterpart": "", **more}


def fake(name: str, **more: object) -> Cells:
    return real(name, **{"label": "fake", **more})


def told(path: Path, **columns: str) -> str:
    """Return what is printed of a table, and the reasons of what it leaves out."""
    items = list(table(path, {name.replace("_", "."): word for name, word in columns.items()}))
    notes = [one for one in items if isinstance(one, str)]
    return "\n".join(
        notes + [f"{one.reason} ({one.path})" for one in items if isinstance(one, Skip)]
    )


@pytest.mark.parametrize("whose", ["", "A", "donor"])
def test_a_forgery_stays_with_its_counterpart_whoever_is_named(tmp_path: Path, whose: str) -> None:
    """With nobody, the person or only the donor named, 40 people end up in one split each."""
    rows = [real(f"{n}.jpg", person=f"P{n}") for n in range(40)]
    rows += [
        fake(f"{n}f{k}.jpg", counterpart=f"./{n}.jpg",
             person={"A": f"P{n}", "donor": f"D{n}"}.get(whose, ""))
        for n in range(40) for k in range(2)
    ]  # fmt: skip
    pieces, left_out = assign_splits(table(write(tmp_path / "t.csv", rows)), 1000, 0)
    assert len(pieces) == 120 and not left_out and {one.split for one in pieces} == set(Split)
    where = defaultdict(set)
    for piece in pieces:
        where[piece.row.scene].add(piece.split)
        where[piece.row.people[0]].add(piece.split)
        assert (piece.twin is not None) == piece.row.category.forged
        if piece.twin:
            assert piece.twin.split is piece.split
            assert whose == "donor" or piece.twin.row.people == piece.row.people
    assert all(len(splits) == 1 for splits in where.values())


def test_a_column_named_source_is_no_counterpart(tmp_path: Path) -> None:
    rows = [{"path": f"{n}.jpg", "label": n % 2, "source": ("webcam", "internet")[n % 2]}
            for n in range(9)]  # fmt: skip
    path = write(tmp_path / "t.csv", rows)
    assert "not read: source" in told(path)
    pieces, _ = assign_splits(table(path), 99, 0)
    assert len({piece.row.people for piece in pieces}) == 9
    assert {piece.split for piece in pieces} == set(Split)
    found = told(path, counterpart="source")
    assert found.count("only a counterpart: no bona fide row has its path") == 9
    assert "(1.jpg: internet)" in found


def test_counterparts_by_absolute_path_chains_and_circles(tmp_path: Path) -> None:
    rows = [
        real("a/1.jpg", person="7"),
        fake("b/1.jpg", counterpart=f"{tmp_path}/a/1.jpg"),
        fake("b/2.jpg", counterpart="b\\1.jpg"),
        fake("b/3.jpg", counterpart="b/4.jpg"),
        fake("b/4.jpg", counterpart="b/3.jpg"),
        fake("b/5.jpg", counterpart="b/5.jpg"),
    ]
    path = write(tmp_path / "t.csv", rows)
    first, pair, chain, three, four, own = rows_of(path)
    assert pair.scene == first.scene == "a/1.jpg" and pair.people == chain.people == ("7",)
    assert chain.scene == "b/2.jpg" and set(chain.bound) & set(pair.bound)
    assert set(three.bound) & set(four.bound) and own.people == ("b/5.jpg",)
    assert told(path).count("no bona fide row has its path (b/") == 4
    assert "has its path (b/5.jpg: b/5.jpg)" in told(path)


def test_a_pair_of_videos_shares_its_frame(tmp_path: Path) -> None:
    rows = [real("r.mp4", frame=frame) for frame in (0, 5)]
    rows += [fake("f.mp4", frame=frame, counterpart="r.mp4") for frame in (0, 5)]
    scenes = [row.scene for row in rows_of(write(tmp_path / "t.csv", rows))]
    assert scenes == ["r.mp4#0", "r.mp4#5"] * 2


@pytest.mark.parametrize(
    "word", ["nan", "NaN", "NA", "None", "null", "", "<NA>", None, float("nan")]
)
def test_an_unknown_person_is_nobody(tmp_path: Path, word: object) -> None:
    rows = [real(f"{n}.jpg", person=word) for n in range(9)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert len({row.people for row in rows_of(tmp_path / "t.jsonl")}) == 9


def test_one_number_is_one_person(tmp_path: Path) -> None:
    people = [7, "7", "007", 7.0, ["7", 8.0], "0", 0]
    rows = [real(f"{n}.jpg", person=one) for n, one in enumerate(people)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = [row.people for row in rows_of(tmp_path / "t.jsonl")]
    assert found == [("7",)] * 4 + [("7", "8"), ("0",), ("0",)]


@pytest.mark.parametrize("values", [(True, False), (1, 0), (1.0, 0.0), ("yes", "no")])
@pytest.mark.parametrize(
    ("name", "first"), [("is_real", "real"), ("live", "real"), ("fake", "fake")]
)
def test_a_column_that_asks_for_the_real_ones(
    tmp_path: Path, name: str, first: str, values: tuple
) -> None:
    rows = [{"path": "a.jpg", name: values[0]}, {"path": "b.jpg", name: values[1]}]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    columns = {"label": name}
    one, other = (row for row in table(tmp_path / "t.parquet", columns) if isinstance(row, Row))
    assert one.category.forged == (first == "fake") and other.category.forged == (first == "real")
    said = f"{values[0]} = {'bona fide' if first == 'real' else 'forged'}: 1"
    assert said in told(tmp_path / "t.parquet", **columns)


def test_labels_in_words_of_ones_own(tmp_path: Path) -> None:
    rows = [real("a.jpg", label="Echt"), real("b.jpg", label="gefälscht"), real("c.jpg", label="2")]
    path = write(tmp_path / "t.csv", rows)
    assert "say label.WORD=real or label.WORD=fake (row 1: Echt)" in told(
        write(tmp_path / "u.csv", rows[:2])
    )
    columns = {"label.echt": "real", "label.gefälscht": "fake", "label.2": "FR"}
    found = [row.category for row in table(path, columns) if isinstance(row, Row)]
    assert found == [Category.BONA_FIDE, Category.FORGED, Category.FR]
    with pytest.raises(DataError, match="columns: 'reel' is no label; choose real, fake, bona"):
        list(table(path, {"label.echt": "reel"}))
    for name in ("echt/a.jpg", "falsch/b.jpg", "real/c.jpg"):
        picture(tmp_path / "folder" / name, landmarks=False)
    words = {"label.echt": "real", "label.falsch": "fake"}
    found = [row.category.forged for row in imagefolder(tmp_path / "folder", words)]
    assert found == [False, True, False]


def test_probabilities_are_no_labels(tmp_path: Path) -> None:
    rows = [real("a.jpg", label="0"), real("b.jpg", label="0.93")]
    with pytest.raises(DataError, match=r"t\.csv: row 2: label: 0\.93; a label is 0 .* label=NAME"):
        list(table(write(tmp_path / "t.csv", rows)))


@pytest.mark.parametrize(("label", "kind"), [("real", "FS"), ("fake", "bona fide"), ("FS", "FR")])
def test_a_label_that_the_category_contradicts(tmp_path: Path, label: str, kind: str) -> None:
    rows = [real("a.jpg", label=label, category=kind), fake("b.jpg", category="FS")]
    path = write(tmp_path / "t.csv", rows)
    assert [row.path for row in rows_of(path)] == ["b.jpg"]
    assert f"label and category disagree (row 1: {label}, {kind})" in told(path)


def test_copies_under_other_names_stay_in_one_split(tmp_path: Path) -> None:
    rows = [real(f"{n}.png", person=f"P{n}", split="") for n in range(20)]
    rows += [real(f"copy{n}.png", person=f"Q{n}", split="") for n in range(20)]
    for n in range(20):
        (tmp_path / f"{n}.png").write_bytes(b"%02d" % n)
        (tmp_path / f"copy{n}.png").write_bytes(b"%02d" % n)
    path = write(tmp_path / "t.csv", rows)
    assert "40 files are copies, kept in one split: 0.png = copy0.png; " in told(path)
    pieces, _ = assign_splits(table(path), 99, 0)
    where = {piece.row.path: piece.split for piece in pieces}
    assert len(where) == 40 and set(where.values()) == set(Split)
    assert all(where[f"{n}.png"] == where[f"copy{n}.png"] for n in range(20))
    rows[0]["split"], rows[20]["split"] = "train", "test"  # the user's own split leaks
    pieces, left_out = assign_splits(table(write(path, rows)), 99, 0)
    assert left_out == {"leak: a person is held out": {"count": 1, "first": "0.png"}}
    assert next(one for one in pieces if one.row.path == "copy0.png").split is Split.TEST
    rows[20]["label"] = "fake"
    assert "a copy with another label; the first is used (0.png = copy0.png)" in told(
        write(path, rows)
    )


def test_too_few_people_for_three_splits_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(4):
        picture(tmp_path / f"{n}.png", n)
    rows = [real(f"{n}.png", person="Ada") for n in range(4)]
    load("table", write(tmp_path / "one.csv", rows), tmp_path / "one")
    assert "table: no picture for val and test: too few people" in (out := capsys.readouterr().out)
    assert "nobody is named" not in out and "table: all are bona fide: with one kind" in out
    rows[0]["person"] = "Eve"
    load("table", write(tmp_path / "two.csv", rows), tmp_path / "two")
    assert "people: 2; " in (out := capsys.readouterr().out) and "no picture for test: too" in out


def test_the_survey_of_the_shell_says_what_was_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(6):
        picture(tmp_path / f"{n}.png", n)
    rows = [{"Bild": f"{n}.png", "Urteil": ("echt", "falsch")[n % 2], "Quelle": "web"}
            for n in range(6)]  # fmt: skip
    given = ["faces", "--source", "table", "--root", str(write(tmp_path / "t.csv", rows))]
    given += ["--size", "64", "--workers", "1", "--out", str(tmp_path / "out")]
    assert main(given) == 2
    assert (
        "t.csv: no column path and no column label among Bild, Urteil, Quelle; name it in COLUMNS"
        " of lesson 01, or by --column in the shell: path=NAME" in capsys.readouterr().err
    )
    for column in ("path=Bild", "label=Urteil", "label.echt=real", "label.falsch=fake"):
        given += ["--column", column]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "columns: path=Bild, label=Urteil; not read: Quelle; labels: echt = bona fide: 3" in out
    assert "; people: 6; pairs: 0; left out: nothing" in out
    assert "nobody is named for 6 pictures" in out and "all are" not in out
