"""Readers of research data sets, each on a tiny tree with the traps of the real one."""

import json
import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces import marks, toy_portrait
from trees import (
    counts,
    film,
    frames,
    in_dlib_order,
    picture,
    skipped,
    split_lists,
    video,
    write_json,
)  # fmt: skip

from dfa_lib.face.geometry import from_dlib, region_masks
from dfa_lib.instruct.agreement import PEOPLE, Voices, inter_annotator_agreement
from dfa_lib.instruct.annotate import annotate
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.making import Outcome
from dfa_lib.instruct.readers.deepfakebench import _known
from dfa_lib.instruct.readers.words import method
from dfa_lib.instruct.rows import Row, Skip, cast, clips
from dfa_lib.instruct.sources import READERS, load_faces
from dfa_lib.records import Annotation, DataError, Face, read_jsonl, write_jsonl
from dfa_lib.shards import join
from dfa_lib.taxonomy import CLASSES, Artifact, Category, Region, Split
from facesim.people import model

LEAK = "leak: a person is held out"


def load(source: str, root: Path, **more: object) -> FaceSet:
    settings = {"n": 1000, "size": 64, "workers": 1} | more
    return load_faces(source, root.parent / f"out-{root.name}", root=root, **settings)


def people(faces: FaceSet, split: Split) -> set[str]:
    return {person for face in faces.split(split) for person in face.identities}


def found(source: str, root: Path) -> list[Row]:
    return [item for item in READERS[source](root) if isinstance(item, Row)]


# --- names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "video", "who", "clip"),
    [
        ("ff", "071_054", ("ff/071", "ff/054"), "ff/071"),
        ("ff", "003", ("ff/003",), "ff/003"),
        ("cdf", "id0_id16_0009", ("cdf/id0", "cdf/id16"), "cdf/id0_0009"),
        ("cdf", "id0_0009", ("cdf/id0",), "cdf/id0_0009"),
        ("cdf", "00170", ("cdf/00170",), "cdf/00170"),
        ("dfd", "01_02__hugging_happy__YVGY8LOK", ("dfd/01", "dfd/02"), "dfd/01__hugging_happy"),
        ("dfd", "01__hugging_happy", ("dfd/01",), "dfd/01__hugging_happy"),
        ("dfdc", "aagfhgtpmv", ("dfdc/aagfhgtpmv",), "dfdc/aagfhgtpmv"),
    ],
)
def test_names_of_videos_tell_who_is_seen(
    world: str, video: str, who: tuple[str, ...], clip: str
) -> None:
    assert cast(world, video) == (who, clip)


def test_methods_under_all_their_names() -> None:
    known = {
        "SD-2.1": "EFS sd21", "ddim": "EFS ddpm", "DiT-XL/2": "EFS dit", "danet": "FR dagan",
        "FF-NT": "FR neuraltextures", "FF-FS": "FS faceswap", "FF-SH": "FS faceshifter",
        "one_shot_free": "FR oneshot", "MRAA_Fake": "FR mraa", "DFDCP_FakeB": "FS dfdcp",
        "whichfaceisreal": "EFS whichisreal", "CelebDFv2_fake": "FS celebdf",
        "StarGANv2": "FE starganv2",
    }  # fmt: skip
    assert {name: " ".join(method(name) or ()) for name in known} == known
    assert method("landmarks") is None
    bona_fide = Category.BONA_FIDE, None
    labels = ["FF-real", "roop_Real", "UADFV_Real", "roop_Fake", "FF-F2F", "whichisreal"]
    assert [_known("", label, None) == bona_fide for label in labels] == [True] * 3 + [False] * 3


# --- FaceForensics++ ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def ff_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extracted frames at c40 only: the masks lie under c23 all the same."""
    root = tmp_path_factory.mktemp("ff") / "data"
    split_lists(root / "FaceForensics++")
    base = root / "FaceForensics++"
    real, fake = base / "original_sequences", base / "manipulated_sequences"
    for name in ("071", "054", "001", "003"):
        frames(real / "youtube/c40/frames" / name, (0, 9, 21))
    frames(fake / "Deepfakes/c40/frames/071_054", (0, 9, 30), seed=1)  # 21 missing, 30 too much
    frames(fake / "Face2Face/c40/frames/054_071", (0, 9, 21), seed=2)
    frames(fake / "FaceSwap/c40/frames/071_001", (0,), seed=3)  # 001 is held out
    frames(fake / "NeuralTextures/c40/frames/001_002", (0,), seed=1)
    frames(fake / "FaceShifter/c40/frames/003_004", (9,), seed=1)
    (fake / "FaceShifter/c40/frames/004_003").mkdir()
    frames(real / "actors/c40/frames/01__talking", (5,))
    frames(fake / "DeepFakeDetection/c40/frames/01_02__talking__ABCDEFGH", (5,), seed=1)
    mask = np.zeros((96, 96), np.uint8)
    cv2.fillPoly(mask, [marks(96)[48:60].astype(np.int32)], 255)
    mask = cv2.dilate(mask, np.ones((15, 15), np.uint8))
    path = fake / "Deepfakes/c23/masks/071_054/000.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), mask)
    return root


@pytest.fixture(scope="module")
def ff_faces(ff_tree: Path) -> FaceSet:
    return load("faceforensics", ff_tree)


def test_faceforensics_counts_pairs_and_drops_leaks(ff_faces: FaceSet) -> None:
    assert counts(ff_faces) == {"bona fide": 13, "FS": 4, "FR": 4, "pairs": 8}
    assert skipped(ff_faces) == {LEAK: 1, "an empty folder": 1}
    by_method = Counter((face.method, face.dataset) for face in ff_faces if face.category.forged)
    assert by_method == {
        ("deepfakes", "faceforensics"): 2,
        ("face2face", "faceforensics"): 3,
        ("neuraltextures", "faceforensics"): 1,
        ("faceshifter", "faceforensics"): 1,
        ("deepfakedetection", "deepfakedetection"): 1,
    }


def test_faceforensics_keeps_people_apart_and_frames_together(ff_faces: FaceSet) -> None:
    assert people(ff_faces, Split.TRAIN) == {"ff/071", "ff/054"}
    assert people(ff_faces, Split.VAL) == {"ff/003", "ff/004"}
    assert people(ff_faces, Split.TEST) == {"ff/001", "ff/002", "dfd/01", "dfd/02"}
    for face in ff_faces:
        if face.source:
            source = ff_faces[face.source]
            assert Path(face.frame).name == Path(source.frame).name
            assert source.identities[0] == face.identities[0] and source.split is face.split
        assert len(face.landmarks) == 81 and face.crop[2] - face.crop[0] > 60
        assert "FaceForensics++" in face.licence and "c40" in face.frame


def test_masks_are_read_from_c23_and_framed_with_the_face(
    ff_faces: FaceSet, tmp_path: Path
) -> None:
    with_mask = [face for face in ff_faces if face.mask]
    assert [face.frame.split("/")[-2:] for face in with_mask] == [["071_054", "000.png"]]
    face = with_mask[0]
    mouth = region_masks(np.float32(face.landmarks), 64)[Region.MOUTH]
    mask = ff_faces.mask(face)
    assert mask[mouth].mean() > 250 and mask[:20].max() == 0
    assert Region.MOUTH in face.altered_regions and Region.EYES not in face.altered_regions
    notes = annotate(ff_faces, out=tmp_path, workers=1)
    assert all(notes[face.id].findings for face in ff_faces if face.source), "pairs are measured"


@pytest.fixture(scope="module")
def ff_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as downloaded: films, and masks as films beside the compression levels."""
    root = tmp_path_factory.mktemp("films") / "FaceForensics++"
    split_lists(root)
    fake = root / "manipulated_sequences/Deepfakes"
    video(root / "original_sequences/youtube/c23/videos/071.mp4", 64)
    video(fake / "c23/videos/071_054.mp4", 41, mark=True)
    mask = np.zeros((176, 176, 3))
    mask[112:144, 60:120] = 255
    film([mask] * 41, fake / "masks/videos/071_054.mp4")
    (root / "original_sequences/youtube/c23/videos/054.mp4").write_text(
        "ffconcat version 1.0\nfile 071.mp4\nduration 2.5\n"
    )
    return root


def test_films_are_sampled_evenly_and_in_step(ff_films: Path) -> None:
    seen = found("faceforensics", ff_films)
    real = [one.at for one in seen if not one.category.forged]
    forged = [one.at for one in seen if one.category.forged]
    assert len(real) == 32 and real[0] == 0 and real[-1] == 63
    assert set(np.diff(real)) <= {2, 3}
    assert forged == [at for at in real if at < 41]


def test_films_are_decoded_and_a_pair_shares_its_frame(ff_films: Path) -> None:
    faces = load("faceforensics", ff_films, n=4)
    assert counts(faces) == {"bona fide": 3, "FS": 1, "pairs": 1}
    assert skipped(faces)["not a readable video"] == 1
    forged = next(face for face in faces if face.source)
    source = faces[forged.source]
    assert forged.crop == source.crop and forged.landmarks == source.landmarks
    change = np.abs(faces.image(forged).astype(int) - faces.image(source)).mean(axis=2)
    mask = faces.mask(forged) > 127
    assert change[mask].mean() > 4 * change[~mask].mean()
    assert (
        forged.altered_regions and forged.frame.partition("#")[2] == source.frame.partition("#")[2]
    )
    at = int(source.frame.partition("#")[2])
    level = faces.image(source).mean() / faces.image(faces.faces[0]).mean()
    first = int(faces.faces[0].frame.partition("#")[2])
    assert level == pytest.approx((64 + at) / (64 + first), rel=0.05)


def test_faceforensics_without_its_lists_says_where_they_are(tmp_path: Path) -> None:
    frames(tmp_path / "original_sequences/youtube/c23/frames/071", (0,))
    with pytest.raises(DataError, match=r"train\.json: no list of pairs; get .*github") as caught:
        load("faceforensics", tmp_path)
    assert "\n" not in str(caught.value)


# --- Celeb-DF -----------------------------------------------------------------------------


def test_celebdf_list_leaks_and_pairs(tmp_path: Path) -> None:
    root = tmp_path / "Celeb-DF-v2"
    for name in ("Celeb-real/frames/id0_0000", "Celeb-real/frames/id1_0003",
                 "Celeb-real/frames/id2_0001", "Celeb-real/frames/id0_0007",
                 "YouTube-real/frames/00170", "YouTube-real/frames/00171"):  # fmt: skip
        frames(root / name, (0, 3))
    for name in ("id0_id3_0000", "id1_id2_0003", "id1_id0_0003", "id2_id1_0001"):
        frames(root / "Celeb-synthesis/frames" / name, (0, 3), seed=1)
    (root / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id3_0000.mp4\n"
    )
    faces = load("celebdf", root)
    assert counts(faces) == {"bona fide": 10, "FS": 6, "pairs": 6}
    assert skipped(faces) == {LEAK: 4}  # id1 with the face of id0; another film of id0
    assert people(faces, Split.TEST) == {"cdf/id0", "cdf/id3", "cdf/00170"}
    assert people(faces, Split.TRAIN) == {"cdf/id1", "cdf/id2"}  # they are in pictures together
    assert people(faces, Split.VAL) == {"cdf/00171"}  # carved out of training: there is no list
    test = faces.split("test")
    assert {face.category for face in test if "real" in face.frame} == {Category.BONA_FIDE}
    assert sum(face.category is Category.FS for face in test) == 2


# --- DeepfakeBench ------------------------------------------------------------------------


def entry(label: str, *paths: str, **more: object) -> dict[str, object]:
    return {"label": label, "frames": list(paths), **more}


HOSTILE = ("/etc/passwd", "../../secret/000.png", "link/000.png", "x\0y/0.png", "")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    root = tmp_path_factory.mktemp("bench") / "data"
    real = "FaceForensics++/original_sequences/youtube/c23/frames"
    fake = "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames"
    swap = "deepfakes_detection_datasets/DF40_train/simswap/frames"
    for name in ("071", "054", "001"):
        frames(root / real / name, (0, 7))
    picture(root / real.replace("c23", "c40") / "071" / "000.png")
    frames(root / fake / "071_054", (0, 7), seed=1)
    frames(root / fake / "003", (0,), seed=1)
    for name in ("071_054", "054_001"):
        frames(root / swap / name, (0,), seed=2)
    frames(root / "Celeb-DF-v2/Celeb-real/frames/id0_0000", (0,))
    frames(root / "Celeb-DF-v2/Celeb-synthesis/frames/id0_id1_0000", (0,), seed=1)
    secret = root.parent / "secret"
    picture(secret / "000.png")
    (root / "link").symlink_to(secret)
    mine = "D:\\users\\someone\\datasets\\"
    home = f"/home/x/{real}"
    backslashed = [mine + f"{real}/054/{k}.png".replace("/", "\\") for k in ("000", "007")]
    ff = {
        "FF-real": {
            "train": {
                "c23": {
                    "071": entry("FF-real", f"{home}/071/007.png", f"{home}/071/000.png"),
                    "054": entry("FF-real", *backslashed),
                },
                "c40": {"071": entry("FF-real", f"{home.replace('c23', 'c40')}/071/000.png")},
            },
            "val": {"c23": {}},
            "test": {"c23": {"001": entry("FF-real", f"{home}/001/000.png")}},
        },
        "FF-DF": {
            "train": {
                "c23": {
                    "071_054": entry("FF-DF", *(f"{fake}/071_054/{k}.png" for k in ("000", "007"))),
                    "empty": entry("FF-DF"),
                    "003": entry("FF-DF", *HOSTILE, fake + "/071_054/099.png"),
                }
            }
        },
    }  # fmt: skip
    write_json(root / "dataset_json/FaceForensics++.json", {"FaceForensics++": ff})
    again = {"FF-real": ff["FF-real"], "FF-DF": {"train": {}}}
    write_json(root / "dataset_json/FF-DF.json", {"FF-DF": again})
    roop = {
        name: entry("roop_Fake", f"/data/{swap}/{name}/000.png") for name in ("071_054", "054_001")
    }
    everywhere = {split: roop for split in ("train", "val", "test")}
    write_json(root / "dataset_json/simswap_ff.json", {"simswap_ff": {"roop_Fake": everywhere}})
    celeb = {
        "CelebDFv2_real": {"id0_0000": "Celeb-real"},
        "CelebDFv2_fake": {"id0_id1_0000": "Celeb-synthesis"},
    }
    lists = {
        label: {
            split: {
                video: entry(label, f"Celeb-DF-v2/{folder}/frames/{video}/000.png")
                for video, folder in videos.items()
            }
            for split in ("train", "val", "test")
        }
        for label, videos in celeb.items()
    }
    write_json(root / "dataset_json/Celeb-DF-v2.json", {"Celeb-DF-v2": lists})
    (root / "dataset_json/torn.json").write_text('{"torn": {')
    return load("deepfakebench", root)


def test_deepfakebench_counts_pairs_and_leaks(bench: FaceSet) -> None:
    assert counts(bench) == {"bona fide": 7, "FS": 4, "pairs": 4}
    assert skipped(bench) == {
        "listed more than once": 6 + 2 * 2,
        "listed, but not below the data root": 4,
        "Celeb-DF lists its test videos under train and val too": 4,
        "an empty list of frames": 1,
        "not a readable JSON list": 1,
        "no such file": 1,
        "outside the data root, name it relative to that": 1,
        LEAK: 1,
    }
    # by the name of the file, never by the label
    methods = Counter((face.method, face.dataset) for face in bench if face.category.forged)
    assert methods == {
        ("deepfakes", "faceforensics"): 2,
        ("simswap", "df40"): 1,
        ("celebdf", "celebdf"): 1,
    }
    # a fake that is listed everywhere goes where its people are
    swap = next(face for face in bench if face.method == "simswap")
    assert swap.split is Split.TRAIN and bench[swap.source].frame.endswith("c23/frames/071/000.png")
    assert people(bench, Split.TEST) == {"ff/001", "cdf/id0", "cdf/id1"}
    # compression levels are not paired with each other
    forged = [face for face in bench if face.source]
    assert all("c40" not in bench[face.source].frame for face in forged)
    assert sum("c40" in face.frame for face in bench) == 1


def test_deepfakedetection_has_no_split_and_is_for_testing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    lists = {}
    for label, kind, name in (
        ("DFD_real", "original_sequences/actors", "01__talking"),
        ("DFD_fake", "manipulated_sequences/DeepFakeDetection", "01_02__talking__ABCDEFGH"),
    ):
        folder = f"FaceForensics++/{kind}/c23/frames/{name}"
        frames(root / folder, (0,))
        videos = {"c23": {name: entry(label, f"{folder}/000.png")}}
        lists[label] = {split: videos for split in ("train", "val", "test")}
    write_json(root / "DeepFakeDetection.json", {"DeepFakeDetection": lists})
    faces = load("deepfakebench", root)
    assert counts(faces) == {"bona fide": 1, "FS": 1, "pairs": 1}
    assert {face.split for face in faces} == {Split.TEST}


# --- DF40 ---------------------------------------------------------------------------------


def test_df40_layouts_names_and_leaks(tmp_path: Path) -> None:
    root = tmp_path / "data"
    split_lists(root / "FaceForensics++")
    for name in ("071", "054", "001", "003"):
        frames(root / "FaceForensics++/original_sequences/youtube/c23/frames" / name, (0, 5))
    celeb = root / "Celeb-DF-v2"
    frames(celeb / "Celeb-real/frames/id0_0000", (0,))
    (celeb / "List_of_testing_videos.txt").write_text("1 Celeb-real/id0_0000.mp4\n")
    train, test = root / "DF40_train", root / "DF40"
    frames(train / "simswap/frames/071_054", (0, 5), seed=1)
    frames(train / "simswap/frames/071_001", (0, 5), seed=1)  # leak: 001 is held out
    frames(train / "frames/054_071", (0,), seed=1)  # the archive of uniface has no top folder
    frames(train / "danet/frames/054", (0,), seed=2)
    frames(test / "fomm/ff/frames/003", (0, 5), seed=2)  # a folder called like a bona fide one
    frames(test / "simswap/cdf/frames/id0_id0_0000", (0,), seed=1)
    (test / "RDDM/ff/001").mkdir(parents=True)  # empty in every EFS method
    picture(train / "StyleGAN2/054/seed0188.png", 3, landmarks=False)
    np.save(train / "StyleGAN2/054/seed0188.npy", in_dlib_order(toy_portrait(3, 96).landmarks))
    for name in ("054_5.jpg", "001_5.jpg"):  # in train, a leak; in test, at home
        picture(train / "e4e/ff/inversions" / name, 1)
        picture(test / "e4e/ff/inversions" / name, 1)
    picture(test / "StarGAN/fake/000123.jpg", 1)
    picture(test / "StarGAN/real/000123.jpg", 0)
    picture(test / "MidJourney/fake/1.png", 1)
    picture(test / "MidJourney/real/1.png", 0)
    faces = load("df40", root)
    assert counts(faces) == {
        "bona fide": 11, "FS": 3, "FR": 3, "FE": 4, "EFS": 2, "pairs": 10,
    }  # fmt: skip
    assert skipped(faces) == {
        LEAK: 3,
        "no method of DF40; move it into the folder of its method": 2,  # and its landmarks
        "an empty folder": 1,
    }
    assert {face.method for face in faces} >= {"simswap", "dagan", "fomm", "stylegan2", "e4e"}
    assert people(faces, Split.TRAIN) == {"ff/071", "ff/054"}
    assert "ff/003" in people(faces, Split.VAL)
    own = [face for face in faces if "df40/" in face.identities[0]]
    assert {face.split for face in own} == {Split.TEST}
    assert [face.source for face in faces if face.category is Category.EFS] == [None, None]


def test_df40_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no DF40 or DF40_train; give the folder"):
        load("df40", tmp_path)


# --- DD-VQA -------------------------------------------------------------------------------

SMOOTH = "The person's skin looks fake. The skin is overly smooth and lacks of details . . Yes."


def test_ddvqa_turns_what_people_wrote_into_annotations(tmp_path: Path) -> None:
    root = tmp_path / "data"
    split_lists(root / "DQ_FF++/split")
    whole = {
        "question": "Does the image looks real/fake?",
        "answer": ["The image looks fake. x", "The nose is blurred. The eyes look asymmetric."],
    }
    skin = {"question": "Does the person's skin look real/fake?", "answer": [SMOOTH]}
    eyes = {  # under number 2, where others have the eyebrows
        "question": "Do the person's eyes look real/fake?",
        "answer": ["The person's eyes look fake. The eyes look unnaturally asymmetric."] * 2,
    }
    real = {"0": whole | {"answer": ["The image looks real. The skin is smooth."]}, "1": skin}
    odd = {"3": "words", "4": {"question": "x", "answer": 5}}  # neither harms nor tells anything
    said = {"0": whole, "1": skin, "2": eyes} | odd
    base = root / "DQ_FF++/train_set"
    write_json(
        base / "Deepfakes/Deepfakes.json", {"0_071_054": said, "0_054_071": said, "0_071_001": said}
    )
    write_json(base / "Original/Original.json", {"5_071": real, "9_001": real})
    write_json(root / "DQ_FF++/other_set/Deepfakes/d.json", {"0_071_054": said})  # listed again
    write_json(root / "DQ_FF++/test_set/Neuraltexture/n.json", {"6_001_002": said})
    (base / "Deepfakes/broken.json").write_text("[")
    for name in ("0_071_054", "0_071_001", "5_071", "6_001_002"):
        path = root / f"images/c40/{name}.jpg"
        picture(path, int(name[0]))
    faces = load("ddvqa", root)
    assert counts(faces) == {"bona fide": 1, "FS": 1, "FR": 1, "pairs": 1}
    assert skipped(faces) == {
        "listed more than once": 1,
        "a clip without its picture: DD-VQA does not say which frame": 1,
        "not a clip of FaceForensics++ with answers": 1,
        "not a readable JSON list": 1,
        LEAK: 1,
    }
    notes = {note.face: note for note in read_jsonl(faces.root / "annotations.jsonl", Annotation)}
    assert set(notes) == {face.id for face in faces}
    assert {note.annotator.name for note in notes.values()} == {"human"}
    swap = notes["fs_0000"]
    assert swap.text == "The image looks fake. x"
    assert [(f.region, f.artifact) for f in swap.findings] == [
        (Region.SKIN, Artifact.OVER_SMOOTHING),
        (Region.SKIN, Artifact.TEXTURE_LOSS),
        (Region.EYES, Artifact.ASYMMETRY),
    ]
    assert swap.findings[2].evidence == "The eyes look unnaturally asymmetric."
    assert notes["bf_0000"].findings == () and "real" in notes["bf_0000"].text
    assert annotate(faces, workers=1) == notes
    agreed = inter_annotator_agreement(faces)  # the first person names nothing
    assert (agreed.region_f1, agreed.faces, agreed.people) == (0.0, 2, 4)
    assert inter_annotator_agreement(faces.split("val")) is None


def test_people_are_scored_against_the_others(tmp_path: Path) -> None:
    face = Face(id="a", image="a.png", sha256="", category="FS", dataset="d", identities=("p",),
                split="train", licence="")  # fmt: skip
    texts = "The nose and the eyes are blurred.", "The nose looks wrong.", "The mouth is blurred."
    write_jsonl(tmp_path / PEOPLE, [Voices(face="a", texts=texts)])
    agreed = inter_annotator_agreement(FaceSet(tmp_path, (face,)))
    # against the others' union: 1 hit of 2 and 2; 1 of 1 and 3; 0 of 1 and 2
    assert agreed.region_f1 == pytest.approx(2 * 2 / (4 + 4 + 3))
    assert np.isnan(agreed.low) and agreed.people == 3, "one identity allows no interval"


# --- a folder of one's own ----------------------------------------------------------------


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("album") / "photos"
    for person in range(6):
        for take in range(2):
            path = root / f"person {person}" / f"{take}.jpg"
            picture(path, person + take)
    video(root / "film.mp4", 1)
    cv2.imwrite(str(root / "wall.png"), np.full((90, 90, 3), 150, np.uint8))
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    (root / "LICENSE.txt").write_text("CC0-1.0\nno rights reserved")
    return root


def test_folder_is_forged_by_our_operators(album: Path) -> None:
    faces = load("folder", album, n=60)
    kinds = counts(faces)
    assert kinds["bona fide"] >= 20 and all(kinds[c.value] >= 9 for c in CLASSES)
    assert {face.licence for face in faces} == {"CC0-1.0"}
    assert {face.dataset for face in faces} == {"folder"}
    assert all(face.mask and face.altered_regions for face in faces if face.category.forged)
    groups = [people(faces, split) - {"synthetic"} for split in Split]
    real = [{name for name in group if not name.startswith("synthetic")} for group in groups]
    assert all(len(group) >= 2 for group in real) and sum(map(len, real)) == 7
    report = json.loads((faces.root / "photographs/skipped.json").read_text("utf-8"))
    assert report["kept"] == {"bona fide": 13, "pairs": 0}
    assert {reason: entry["count"] for reason, entry in report["skipped"].items()} == {
        "No face was found": 1,
        "the picture is damaged or cut off": 1,
    }


def test_a_folder_of_too_few_people_is_refused(tmp_path: Path) -> None:
    for person in range(3):
        picture(tmp_path / f"album/{person}.jpg", person)
    with pytest.raises(DataError, match="only 3 people with a usable photograph"):
        load("folder", tmp_path / "album", n=60)


# --- what holds for all -------------------------------------------------------------------


def test_dlib_hairline_is_put_in_order() -> None:
    points = marks(96)
    mean = model().mean_shape
    assert np.allclose(from_dlib(in_dlib_order(points), mean), points)
    assert np.allclose(from_dlib(points, mean), points)


def test_a_hairline_is_fitted_to_68_points() -> None:
    guessed = from_dlib(marks(128)[:68], model().mean_shape)
    assert guessed.shape == (81, 2) and np.abs(guessed - marks(128))[68:].mean() < 8


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return Path.write_text, (Path("harm.txt"), "done")


@pytest.mark.parametrize("kind", ["pickle", "object", "huge", "shape", "text"])
def test_landmarks_cannot_run_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "DF40/simswap/ff/frames/071_054"
    picture(root / "000.png")
    split_lists(tmp_path / "FaceForensics++")
    frames(tmp_path / "FaceForensics++/original_sequences/youtube/c23/frames/071", (0,))
    points = tmp_path / "DF40/simswap/ff/landmarks/071_054/000.npy"
    harm = np.array([_Harm()], dtype=object)
    match kind:
        case "pickle":
            points.write_bytes(pickle.dumps(_Harm()))
        case "object":
            np.save(points, harm, allow_pickle=True)
        case "huge":
            np.save(points, np.zeros((10**5, 2)))
        case "shape":
            np.save(points, np.zeros((5, 2)))
        case "text":
            points.write_text("not points")
    faces = load("df40", tmp_path)
    assert counts(faces) == {"bona fide": 1, "pairs": 0}
    assert skipped(faces) == {"its landmarks are unreadable": 1}
    assert not Path("harm.txt").exists()


def test_a_forgery_outlives_its_counterpart(tmp_path: Path) -> None:
    split_lists(tmp_path / "FaceForensics++")
    real = tmp_path / "FaceForensics++/original_sequences/youtube/c23/frames/071"
    frames(real, (0,))
    (real / "000.png").write_bytes(b"torn")
    frames(tmp_path / "DF40_train/simswap/frames/071_054", (0,), seed=1)
    faces = load("df40", tmp_path)
    assert counts(faces) == {"FS": 1, "pairs": 0}


def test_a_draw_keeps_pairs_and_balances_categories(ff_tree: Path, tmp_path: Path) -> None:
    faces = load_faces("faceforensics", tmp_path, root=ff_tree, n=8, size=64, workers=1)
    kinds = counts(faces)
    assert len(faces) == 8 and kinds["FS"] >= 2 and kinds["FR"] >= 2
    assert kinds["pairs"] == kinds["FS"] + kinds["FR"]
    other = load_faces(
        "faceforensics", tmp_path / "b", root=ff_tree, n=8, seed=1, size=64, workers=1
    )
    assert {f.frame for f in other} != {f.frame for f in faces}


def test_workers_and_shards_do_not_show(ff_tree: Path, ff_faces: FaceSet, tmp_path: Path) -> None:
    whole = (ff_faces.root / "faces.jsonl").read_bytes()
    settings = {"root": ff_tree, "n": 1000, "size": 64}
    for part in range(3):
        share = load_faces("faceforensics", tmp_path / "c", shard=(part, 3), workers=1, **settings)
        assert len(share) == 7
    join(tmp_path / "c/faces.jsonl")
    again = load_faces("faceforensics", tmp_path / "d", workers=2, **settings)
    assert (tmp_path / "c/faces.jsonl").read_bytes() == whole
    assert (again.root / "faces.jsonl").read_bytes() == whole
    for face in again:
        assert (tmp_path / "c" / face.image).read_bytes() == (again.root / face.image).read_bytes()


def test_an_interrupted_run_goes_on_unless_the_tree_has_changed(
    ff_tree: Path, ff_faces: FaceSet, tmp_path: Path
) -> None:
    whole = (ff_faces.root / "faces.jsonl").read_bytes()
    made = [Outcome(job=face.frame, face=face).model_dump_json() for face in ff_faces]
    other = Outcome(job="another/tree.png", skipped="torn").model_dump_json()
    for name, lines, kept in (("on", made[:5], 5), ("anew", [other, *made[:4]], 0)):
        out = tmp_path / name
        out.mkdir()
        (out / "faces.part.jsonl").write_text("\n".join([*lines, made[5][:40]]))
        again = load_faces("faceforensics", out, root=ff_tree, n=1000, size=64, workers=1)
        assert (out / "faces.jsonl").read_bytes() == whole
        assert sum(not (out / face.image).exists() for face in again) == kept


def test_every_frame_is_found_once(tmp_path: Path) -> None:
    frames(tmp_path / "clip", (7, 12))
    picture(tmp_path / "clip/7.png")
    (tmp_path / "clip/8.HEIC").touch()
    (tmp_path / "clip/9.mp4").symlink_to("not fetched")
    items = list(clips(tmp_path, "clip"))
    assert [item.reason for item in items if isinstance(item, Skip)] == [
        "another picture of this number or name", "not a readable video"
    ]  # fmt: skip
    assert [*items[-1].frames] == ["7", "12", "8"], "each picture that photo.open_photo may read"


def test_a_wrong_root_does_not_bind_the_folder(tmp_path: Path) -> None:
    for person in range(6):
        picture(tmp_path / f"right/{person}.jpg", person)
    picture(tmp_path / "wrong/0.jpg")
    for wrong in ("wrong", "nowhere"):
        with pytest.raises(DataError, match="root"):
            load_faces("folder", tmp_path / "out", root=tmp_path / wrong, n=60, size=64, workers=1)
    faces = load_faces(
        "folder", tmp_path / "out", root=tmp_path / "right", n=60, size=64, workers=1
    )
    assert {face.frame for face in faces if face.frame} == {f"{person}.jpg" for person in range(6)}
    with pytest.raises(DataError, match="holds faces made with root="):
        load_faces("folder", tmp_path / "out", root=tmp_path / "wrong", n=60, size=64, workers=1)
    with pytest.raises(DataError, match=r"^root: missing; give the folder .* of df40"):
        load_faces("df40", tmp_path / "other")
