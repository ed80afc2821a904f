"""Load a model from the shell, and judge pictures with it, many faces at a time."""

import gc
import itertools
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dfa_lib.ask.said import FaceSaid, PictureSaid, face_said, kept
from dfa_lib.ask.shots import Shot, look, printable, shots
from dfa_lib.face import detect
from dfa_lib.files import digest
from dfa_lib.gpt.presets import PRESETS
from dfa_lib.records import DataError, JsonlLog
from dfa_lib.runtime import RESCUE, work_path
from dfa_lib.tuned import inner, read_about

if TYPE_CHECKING:
    from dfa_lib.bench.calibration import Calibration
    from dfa_lib.bench.scope import Picture
    from dfa_lib.chat.verdict import Verdict
    from dfa_lib.gpt.analyst import LocalAnalyst

BATCHES = (1, 4)
BATCH = 16
"""Pictures judged in one go: the first at once, so that somebody sees an answer soon."""
NO_FACE = f"{detect.NO_FACE} --aligned takes a picture that is framed already."


def find_model(folder: Path | None) -> Path:
    """Return the tuned model: ``folder``, else the one lesson 02 made, else the shipped one.

    Raises DataError if ``folder`` holds none; a merged checkpoint is none.
    """
    for choice in [folder] if folder else [work_path() / "02_gpt", RESCUE / "02_gpt"]:
        if (inner(choice) / "adapter_model.safetensors").is_file():
            return choice
    if any(choice.glob("model*.safetensors")):
        raise DataError(
            f"{choice}: a merged checkpoint, for servers such as `python -m dfa_lib.serve`; here, "
            "name the folder that it was merged from"
        )
    raise DataError(f"{choice}: no tuned model here; run lesson 02, or name one by --model FOLDER")


class Session:
    """One model and one set of questions; the model is loaded when a face needs it.

    ``shipped`` tells whether the model is the one that comes with the package.
    """

    def __init__(
        self, folder: Path | None, base: str | None, aligned: bool, questions: Sequence[str]
    ) -> None:
        if base and base not in PRESETS:
            raise DataError(f"--base {base}: unknown preset; choose from {', '.join(PRESETS)}")
        self._source = None if base else find_model(folder)
        self.shipped = self._source == RESCUE / "02_gpt"
        self._base, self._aligned, self._questions = base, aligned, tuple(questions)

    @cached_property
    def analyst(self) -> "LocalAnalyst":
        """The model; nothing is fetched and no progress bar or warning is shown."""
        gc.disable()  # nothing is garbage while importing: a seventh of the time to an answer
        try:
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            warnings.simplefilter("ignore")  # of libraries about their own future
            from transformers.utils import logging

            logging.set_verbosity_error()
            logging.disable_progress_bar()
            from dfa_lib.gpt.analyst import LocalAnalyst
            from dfa_lib.gpt.base import load_base

            if self._source:
                return LocalAnalyst(self._source)
            preset = PRESETS[self._base]
            return LocalAnalyst(load_base(preset), preset, name=f"{self._base}, untuned")
        finally:
            gc.freeze()
            gc.enable()

    def answers(
        self, sources: Sequence[Path | str], every: float, resume: Path | None = None
    ) -> Iterator[PictureSaid]:
        """Yield what is said of each picture, as soon as its batch is judged.

        With ``resume``, what an earlier run kept in that file comes first and is not asked again.
        """
        if resume is None:
            yield from self._fresh(shots(sources, every), "")
            return
        run = self._run(every)
        with JsonlLog(resume, PictureSaid) as log:
            known, names = kept(resume, run), {printable(source) for source in sources}
            yield from (said for said in known.values() if said.picture in names)
            rest = (s for s in shots(sources, every) if (s.name, s.second) not in known)
            for said in self._fresh(rest, run):
                if said.status != "unreadable":  # which may be mended until the next run
                    log.append(said)
                yield said

    def _fresh(self, pictures: Iterable[Shot], run: str) -> Iterator[PictureSaid]:
        for batch in _batches(_looked(pictures, self._aligned, self._side)):
            faces = [face for seen in batch for face in seen.faces]
            verdicts = iter(self._judged(faces) if faces else ())
            for seen in batch:
                said = [
                    face_said(number, face, next(verdicts), self._questions)
                    for number, face in enumerate(seen.faces, start=1)
                ]
                yield _picture(seen, tuple(said), run)

    def _judged(self, faces: Sequence["Picture"]) -> "list[Verdict]":
        from dfa_lib.chat.verdict import judge

        return judge(self.analyst, faces, self._calibration, self._questions)

    @cached_property
    def _calibration(self) -> "Calibration | None":
        """What lesson 03 fitted for this model; read once, for a folder has many batches."""
        from dfa_lib.bench.calibration import calibration

        places = ((self._source or RESCUE).parent, work_path(), RESCUE)
        folders = dict.fromkeys(place / "03_bench" for place in places)
        return next(filter(None, (calibration(self.analyst, one) for one in folders)), None)

    @cached_property
    def _side(self) -> int:
        """Pixels of the faces that the model takes, read before the model is needed."""
        if self._base:
            return PRESETS[self._base].side
        return read_about(inner(self._source)).preset.side

    def _run(self, every: float) -> str:
        """Return what tells this run from one with another model, other questions or options."""
        model = self.analyst.fingerprint, self._calibration  # lesson 03 may have run since
        return digest(repr((model, self._questions, self._aligned, every)))[:16]


def _looked(shots: Iterable[Shot], aligned: bool, side: int) -> Iterator[Shot]:
    """Look at pictures in order, on a thread of its own, up to BATCH ahead of who takes them."""
    waiting: deque[Future[Shot]] = deque()
    pool = ThreadPoolExecutor(1)  # one: OpenCV's networks are not for several threads
    try:
        for shot in shots:
            waiting.append(pool.submit(look, shot, aligned, side))
            if len(waiting) > BATCH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(seen: Iterable[Shot]) -> Iterator[list[Shot]]:
    """Cut a stream of pictures into batches."""
    rest = iter(seen)
    for size in itertools.chain(BATCHES, itertools.repeat(BATCH)):
        if not (batch := list(itertools.islice(rest, size))):
            return
        yield batch


def _picture(seen: Shot, faces: tuple[FaceSaid, ...], run: str) -> PictureSaid:
    """Sum up what is said of a picture and its faces."""
    reasons = [face.reason for face in faces if face.reason]
    reason = seen.error or (reasons[0] if reasons else "" if faces else NO_FACE)
    status = "unreadable" if seen.error else "not judged" if reason else "judged"
    return PictureSaid(
        picture=seen.name, second=seen.second, status=status, reason=reason, faces=faces, run=run
    )
