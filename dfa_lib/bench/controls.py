"""Who sits the exam beside an analyst: what its score must be compared with to mean anything."""

from collections.abc import Iterable
from dataclasses import replace

from dfa_lib.analysts import Analyst
from dfa_lib.bench.baselines import Blind, Chance, Majority, Probe, dct_features, pixel_features
from dfa_lib.bench.encoder_baseline import FineTuned
from dfa_lib.bench.exam import some
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.gpt.base import load_base
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.records import InstructRecord
from dfa_lib.taxonomy import Split


def controls(
    analyst: LocalAnalyst, faces: FaceSet, records: Iterable[InstructRecord], seed: int = 0
) -> dict[str, Analyst]:
    """All controls for an analyst, the strongest first.

    The probes are fitted on at most 3,000 training faces; the encoder is tuned on all, in as
    many passes as the analyst. Both start from the untuned base: they owe nothing to the analyst.
    """
    train = faces.split(Split.TRAIN)
    records = {record.id: record for record in records}
    written = [
        record.annotation.text for record in records.values() if record.face.split is Split.TRAIN
    ]
    part = replace(train, faces=some(train.faces, 3000, seed))
    preset = analyst.preset
    base = analyst if preset.vision == "frozen" else LocalAnalyst(load_base(preset), preset)
    return {
        "fine_tuned": FineTuned(base, train, epochs=round(preset.epochs), seed=seed),
        "linear_probe": Probe("linear_probe", base.features, part),
        "dct": Probe("dct", dct_features, part),
        "pixels16": Probe("pixels16", pixel_features, part),
        "blind": Blind(analyst),
        "majority": Majority(train.faces, records),
        "chance": Chance(written, seed),
    }
