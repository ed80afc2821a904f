"""Pictures of one's own: tables and image folders, with as little known as there may be."""

import csv
import json
import re
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from test_detect import two_people
from trees import counts, picture, skipped

from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.readers.table import category_of, row_of, table
from dfa_lib.instruct.rows import Row
from dfa_lib.instruct.sources import READERS, _methods, load_faces
from dfa_lib.instruct.splits import assign_splits
from dfa_lib.records import DataError
from dfa_lib.taxonomy import Category, Region, Split
from facesim.methods import METHODS, register


def load(source: str, root: Path, out: Path, **more: object) -> FaceSet:
    return load_faces(source, out, **{"root": root, "n": 1000, "size": 64, "workers": 1} | more)


def write(path: Path, rows: list[dict[str, object]], delimiter: str = ",", end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator=end)
        table.writeheader()
        table.writerows(rows)
    return path


def rows_of(path: Path) -> list[Row]:
    return [item for item in table(path) if isinstance(item, Row)]


@pytest.mark.parametrize(
    ("label", "kind", "method", "expected"),
    [
        ("real", "", None, (Category.BONA_FIDE, None)),
        ("0", "", None, (Category.BONA_FIDE, None)),
        ("1", "", None, (Category.FORGED, None)),
        ("fake", "FS", None, (Category.FS, None)),
        ("fake", "face swap", None, (Category.FS, None)),
        ("forged", "face editing", "mine", (Category.FE, "mine")),
        ("fake", "", "SimSwap", (Category.FS, "simswap")),
        ("fake", "", "my own gan", (Category.FORGED, "my own gan")),
        ("EFS", "", None, (Category.EFS, None)),
        ("cat", "", None, (None, None)),
    ],
)
def test_labels_by_many_names(
    label: str, kind: str, method: str | None, expected: tuple[Category | None, str | None]
) -> None:
    assert category_of(label, kind, method) == expected


@pytest.mark.parametrize(("delimiter", "end"), [(",", "\n"), (";", "\r\n"), ("\t", "\r\n")])
def test_a_table_as_spreadsheets_write_it(tmp_path: Path, delimiter: str, end: str) -> None:
    rows = [
        {"File Name": "my faces\\Zoë 1.jpg", "Class": "real", "Subset": "train"},
        {"File Name": "b.jpg", "Class": "fake", "Subset": "validation"},
    ]
    first, second = rows_of(write(tmp_path / "t.csv", rows, delimiter, end))
    assert first.path == "my faces/Zoë 1.jpg" and first.category is Category.BONA_FIDE
    assert first.people == (first.path,) and first.listed == (Split.TRAIN,)
    assert second.category is Category.FORGED and second.listed == (Split.VAL,)


def test_a_picture_with_two_labels_is_told(tmp_path: Path) -> None:
    labels = ["real", "fake", "real"]
    path = write(tmp_path / "t.csv", [{"path": "a.jpg", "label": one} for one in labels])
    (piece,), left_out = assign_splits(table(path), 9, 0)
    assert piece.row.category is Category.BONA_FIDE
    told = {reason: found["count"] for reason, found in left_out.items()}
    again = "listed with different labels; the first is used"
    assert told == {again: 1, "listed more than once": 1}


def test_jsonl_and_parquet_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"path": "a.jpg", "label": 0, "person": ["x", "y"], "text": None},
        {"path": "b.jpg", "label": 1, "person": [], "text": "The nose is blurred."},
    ]
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / "t.jsonl").write_text(lines, encoding="utf-8")
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    found = rows_of(tmp_path / "t.jsonl")
    assert found == rows_of(tmp_path / "t.parquet")
    assert found[0].people == ("x", "y") and found[1].people == ("b.jpg",)
    assert {finding.region for finding in found[1].findings} == {Region.NOSE}


def test_without_pyarrow_a_parquet_table_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"t\.parquet: Parquet needs `pip install pyarrow`"):
        rows_of(tmp_path / "t.parquet")


def test_a_table_without_labels_names_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [{"path": "a.jpg", "age": 3}])
    with pytest.raises(DataError, match=r"t\.csv: no column label among path, age; name"):
        list(table(path))
    with pytest.raises(DataError, match=r"no\.csv: no such file; give a CSV"):
        list(table(tmp_path / "no.csv"))
    (tmp_path / "head.csv").write_text("path,label\n")
    with pytest.raises(DataError, match=r"head\.csv: no row; give a table with a picture in each"):
        list(table(tmp_path / "head.csv"))


def test_what_cannot_be_used_is_counted_and_nothing_stops(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(8):
        picture(root / f"{number}.jpg", number)
    picture(tmp_path / "secret.jpg")
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    (root / "empty.jpg").write_bytes(b"")
    cv2.imwrite(str(root / "strip.png"), np.zeros((60_000, 64), np.uint8))  # OpenCV gives up
    names = [*(f"{n}.jpg" for n in range(8)), "0.jpg", "broken.jpg", "empty.jpg", "gone.jpg"]
    names += ["strip.png"]
    rows = [{"path": name, "label": ("real", "fake")[at % 2]} for at, name in enumerate(names)]
    rows += [{"path": "../secret.jpg", "label": "real"}, {"path": "1.jpg", "label": "perhaps"}]
    faces = load("table", write(root / "t.csv", rows), tmp_path / "out")
    assert counts(faces) == {"bona fide": 4, "forged": 4, "pairs": 0}
    assert sum(skipped(faces).values()) == 7
    assert {face.split for face in faces} == set(Split)
    assert all(face.altered_regions is None for face in faces if face.category.forged)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("t.csv", "path,label\nZoë.png,real\n".encode("cp1252"), "line 2: .*codec"),
        ("t.csv", "path,label\nZoë.png,real\n".encode("utf-16"), "codec"),
        ("t.jsonl", b"[" * 99_999, "recursion"),
        ("t.parquet", b"PAR1 torn PAR1", "Parquet"),
        ("t.json", b'[{"path": "a.jpg"}', "delimiter"),
    ],
)
def test_what_is_no_table_is_named_with_the_mend(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    said = rf"{name}: not a readable table \(.*{why}.*; save it as UTF-8 CSV"
    with pytest.raises(DataError, match=said):
        list(table(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.xlsx", b"PK\3\4...", "t.xlsx: a workbook; save its sheet as CSV"),
        ("t.csv", b"PK\3\4...", "t.csv: a workbook; save its sheet as CSV"),
        ("t.csv", b"", "t.csv: no row; give a table"),
        ("t.csv", b" \n\n", "t.csv: no row; give a table"),
        ("t.json", b"[]", "t.json: no row; give a table"),
        ("t.jsonl", b'{"path": "a.jpg", "label": 0}\n[1, 2]\n', "line 2: not an object in JSON"),
        ("t.jsonl", b'{"path": "a.jpg", "label": 0}\n{"path": "b', "half-written; correct or rem"),
        ("t.csv", b"path,label,path\na,real,b\n", "t.csv: two columns are named 'path'; rename"),
        ("t.csv", b"path,Label, label\na,real,fake\n", "two columns are named 'label'; rename"),
        ("t.jsonl", b'{"path": "a", "label": 0, "label": 1}', "two columns are named 'label'"),
        ("t.csv", b"path,label\na.jpg,real,\nb,c.jpg,real\n", "line 3: more cells than columns"),
        (
            "t.json",
            b'{"a.jpg": "real", "b.jpg": "fake"}',
            "a.jpg: the names of its columns are pict",
        ),
        ("t.json", b'{\n "a.jpg": 0,\n "b.jpg": 1\n}', "a.jpg: the names of its columns are pict"),
        ("t.jsonl", b'{"image": {"bytes": "..."}, "label": 0}', "image holds pictures, not paths"),
    ],
)
def test_a_table_that_would_be_misread_is_refused(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(told)):
        list(table(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "sep=|\npath|label\na.jpg|real\n"),
        ("t.csv", "\ufeffsep=;\r\npath;label\r\na.jpg;real\r\n"),
        ("t.csv", "\n \npath,label\n\na.jpg,real\n\n"),
        ("t.json", '[{"path": "a.jpg", "label": "real"}]'),
        ("t.json", '{"path": "a.jpg", "label": "real"}\n'),
    ],
)
def test_what_stands_before_the_head_is_skipped(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert [row.path for row in rows_of(tmp_path / name)] == ["a.jpg"]


@pytest.mark.parametrize(
    ("frame", "at"), [("7", 7), ("7.0", 7), ("²", None), ("1" * 400, None), ("", None)]
)
def test_a_frame_is_a_number_or_unknown(frame: str, at: int | None) -> None:
    assert row_of({"path": "a.mp4", "label": "real", "frame": frame}, "row 1").at == at


ODD_PATHS = {
    "C:\\data\\1.png": "outside the data root, name it relative to that",
    "/etc/passwd": "outside the data root, name it relative to that",
    "../1.png": "outside the data root, name it relative to that",
    "https://a.b/1.png": "outside the data root, name it relative to that",
    "~/1.png": "no such file",
    "1.png\0": "embedded null byte",
    "": "no path",
    "cut.jpg": "the picture is damaged or cut off",
    "loop.jpg": "a link to itself, or too long a name",
}


def test_each_path_that_names_no_picture_is_counted_and_named(tmp_path: Path) -> None:
    tmp_path = tmp_path / ("a long name " * 10)
    tmp_path.mkdir()
    for name in ("a.png", "b.png", "cut.png"):
        picture(tmp_path / name)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    rows = [{"path": path, "label": "real"} for path in ("a.png", " b.png ", *ODD_PATHS)]
    faces = load("table", write(tmp_path / "t.csv", rows), tmp_path / "out")
    assert len(faces) == 2 and skipped(faces) == Counter(ODD_PATHS.values())
    told = json.loads((tmp_path / "out/skipped.json").read_text())["skipped"]
    assert told["the picture is damaged or cut off"]["first"] == "cut.jpg"


def test_of_several_people_the_mask_tells_who_was_forged(tmp_path: Path) -> None:
    """Without one it is the face where the counterpart's is; a pair never mixes two people."""
    pair = two_people()
    forged = pair.copy()
    forged[60:180, 60:140] = forged[60:180, 60:140][:, ::-1]  # of the smaller face, to the left
    mask = np.zeros_like(pair)
    mask[100:150, 60:140] = 255
    for name, image in {"real": pair, "fake": forged, "mask": mask}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), image[..., ::-1])
    rows = [{"image": "real.png", "label": "real", "mask": "", "counterpart": ""}]
    rows += [{"image": "fake.png", "label": "FS", "mask": "", "counterpart": "real.png"}]
    _, other = load("table", write(tmp_path / "t.csv", rows), tmp_path / "a")
    rows[1]["mask"] = "mask.png"
    faces = load("table", write(tmp_path / "t.csv", rows), tmp_path / "b")
    real, fake = faces
    assert real.crop[0] > 180 and other.crop[0] > 180 and other.source == real.id
    assert fake.crop[2] < 240 and fake.source is None
    assert (faces.mask(fake) > 127).mean() > 0.05


def test_pairs_masks_and_subgroups_are_kept(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(3):
        picture(root / f"{number}.png", number)
        picture(root / f"{number}f.png", number + 1)
    rows = [{"path": f"{n}.png", "label": "real", "counterpart": "", "subgroup.age": "20"}
            for n in range(3)]  # fmt: skip
    rows += [{"path": f"{n}f.png", "label": "FS", "counterpart": f"{n}.png", "subgroup.age": ""}
             for n in range(3)]  # fmt: skip
    faces = load("table", write(root / "t.csv", rows), tmp_path / "out")
    assert counts(faces) == {"bona fide": 3, "FS": 3, "pairs": 3}
    for face in faces:
        if face.source:
            assert faces[face.source].split is face.split
            assert faces[face.source].subgroup == {"age": "20"}


@pytest.mark.parametrize("names", [("real", "fake"), ("bona_fide", "forged"), ("original", "FE")])
def test_an_image_folder_is_read_by_its_folders(tmp_path: Path, names: tuple[str, str]) -> None:
    root = tmp_path / "data"
    for number in range(4):
        picture(root / names[0] / f"{number}.png", number, landmarks=False)
        picture(root / "test" / names[1] / "SimSwap" / f"{number}.png", number, landmarks=False)
    (root / "notes.txt").write_text("no picture")
    items = list(READERS["imagefolder"](root))
    found = Counter(
        (item.category, item.method, item.listed) for item in items if isinstance(item, Row)
    )
    kind = Category.FE if names[1] == "FE" else Category.FS
    assert found == {
        (Category.BONA_FIDE, None, ()): 4,
        (kind, "simswap", (Split.TEST,)): 4,
    }
    assert len(items) == 9


def test_a_folder_that_tells_nothing_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "data/holidays/1.png")
    with pytest.raises(
        DataError, match=r"no usable face; .*say label.FOLDER=real \(holidays/1.png\)"
    ):
        load("imagefolder", tmp_path / "data", tmp_path / "out")


def test_people_are_dealt_whole_and_both_classes_everywhere() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(300):
        people = tuple({f"p{one}" for one in rng.integers(0, 400, 2)})
        kind = Category.FORGED if number % 3 else Category.BONA_FIDE
        rows.append(Row(path=f"{number}.png", dataset="d", category=kind, people=people,
                          licence="", scene=f"{number}"))  # fmt: skip
    pieces, tally = assign_splits(rows, 1000, 0)
    assert len(pieces) == 300 and not tally
    where: dict[str, set[Split]] = {}
    for piece in pieces:
        for person in piece.row.people:
            where.setdefault(person, set()).add(piece.split)
    assert all(len(splits) == 1 for splits in where.values())
    assert {(p.split, p.row.category.forged) for p in pieces} == {
        (split, forged) for split in Split for forged in (False, True)
    }


def test_the_plan_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    for number in range(4):
        picture(root / f"{number}.png", number)
    rows = [{"path": f"{n}.png", "label": n % 2} for n in range(4)] + [{"path": "", "label": 1}]
    load("table", write(root / "t.csv", rows), tmp_path / "out")
    told, plan, *_ = capsys.readouterr().out.splitlines()
    assert told == (
        "columns: path=path, label=label; not read: none; labels: 0 = bona fide: 2, 1 = forged: 2"
    )
    assert plan.startswith("table: to be read: ") and "; people: 4; pairs: 0; left out: " in plan
    assert plan.endswith("1 no path (row 5)")


def test_kept_faces_know_the_code_and_the_table(tmp_path: Path) -> None:
    load_faces(out=tmp_path / "drawn", n=60, size=64, workers=1)

    @register(Category.FE)
    def brand_new(rng, strength, target):
        return target, np.full(target.image.shape[:2], 3.5, np.float32)

    first = _methods()
    try:
        with pytest.raises(DataError, match="holds faces made with methods="):
            load_faces(out=tmp_path / "drawn", n=60, size=64, workers=1)

        level = 5.5

        @register(Category.FE)
        def brand_new(rng, strength, target):
            return target, np.full(target.image.shape[:2], level, np.float32)

        digests = {first, _methods()}
        level = 6.5
        assert len(digests | {_methods()}) == 3, "a constant counts, written or named"
    finally:
        del METHODS["brand_new"]
    assert len(load_faces(out=tmp_path / "drawn", n=60, size=64, workers=1)) == 60
    root = tmp_path / "data"
    for number in range(4):
        picture(root / f"{number}.png", number)
    rows = [{"path": f"{n}.png", "label": n % 2} for n in range(4)]
    load("table", write(root / "t.csv", rows), tmp_path / "out")
    assert len(load("table", root / "t.csv", tmp_path / "out")) == 4
    picture(root / "3.png", 2)
    with pytest.raises(DataError, match="holds faces made with pictures="):
        load("table", root / "t.csv", tmp_path / "out")
    write(root / "t.csv", rows[:3])
    with pytest.raises(DataError, match="holds faces made with pictures="):
        load("table", root / "t.csv", tmp_path / "out")


def test_what_lessons_write_below_the_root_is_no_change(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / ("real", "fake")[number % 2] / f"{number}.png", number)
    out = tmp_path / "work/01_instruct"
    assert len(load("imagefolder", tmp_path, out)) == 4
    (tmp_path / "work/02_gpt").mkdir()
    (tmp_path / "work/02_gpt/log.jsonl").touch()
    assert len(load("imagefolder", tmp_path, out)) == 4
    picture(tmp_path / "fake/5.png", 1)
    with pytest.raises(DataError, match="holds faces made with pictures="):
        load("imagefolder", tmp_path, out)


def test_columns_go_by_a_mapping(tmp_path: Path) -> None:
    rows = [{"bild": "a.jpg", "urteil": "fake", "label": "x", "subgroup.age": "20"}]
    path = write(tmp_path / "t.csv", rows)
    found, _ = table(path, {"path": "bild", "label": "urteil"})
    assert (found.path, found.category) == ("a.jpg", Category.FORGED)
    assert found.subgroup == (("age", "20"),)
    with pytest.raises(DataError, match=r"t\.csv: no column gone among bild, urteil"):
        list(table(path, {"path": "gone", "label": "urteil"}))
    with pytest.raises(DataError, match="'colour' is unknown; choose from path, label"):
        list(table(path, {"path": "bild", "colour": "urteil"}))
    with pytest.raises(DataError, match="columns: only table and imagefolder take them"):
        load_faces("df40", tmp_path / "out", root=tmp_path, columns={"path": "bild"})


def test_a_column_that_only_later_lines_have_counts(tmp_path: Path) -> None:
    lines = [{"path": "a.jpg", "label": 0}, {"path": "b.jpg", "label": 1, "person": "x"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert [row.people for row in rows_of(tmp_path / "t.jsonl")] == [("a.jpg",), ("x",)]
