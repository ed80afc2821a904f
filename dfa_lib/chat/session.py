"""A conversation with an analyst about one picture at a time; knows no widget.

Nothing raises out of a session: what goes wrong becomes one sentence in the transcript.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from dfa_lib.analysts import ChatAnalyst
from dfa_lib.bench.calibration import Calibration, calibration
from dfa_lib.bench.scope import Picture, framed, refusals
from dfa_lib.chat import page
from dfa_lib.chat.occlusion import LEGEND, occlusion_map, paint
from dfa_lib.chat.page import Role, Turn
from dfa_lib.chat.verdict import Opinion, Verdict, judge
from dfa_lib.face.detect import FaceCrop, pictures
from dfa_lib.files import write_atomic
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.reviews import Review, fingerprint
from dfa_lib.photo import open_photo
from dfa_lib.records import DataError, Face, Finding, JsonlLog
from dfa_lib.runtime import work_path
from dfa_lib.taxonomy import Artifact, Category, Region, Task

QUICK = {
    Task.DF_D: "Has this face been forged?",
    Task.DF_C: "What kind of forgery is this?",
    Task.AD: "Describe the artifacts of this face.",
}
LONGEST_QUESTION = 500  # characters
ARRIVED_EMPTY = (
    "arrived empty, as large uploads may in Colab and VS Code; give its path beside the upload,"
    " or upload a smaller copy"
)


class ChatSession:
    """History, picture and verdicts of a chat; ``ask`` streams the answer.

    ``analysts`` is one analyst or several by name, the first of which answers until another is
    chosen by ``switch``. ``report`` is the folder of lesson 03: an analyst that has a report
    there gives calibrated probabilities. ``reviews`` is where a person's reviews are kept.
    """

    def __init__(
        self,
        analysts: ChatAnalyst | Mapping[str, ChatAnalyst],
        gallery: FaceSet | None = None,
        reviews: Path | None = None,
        report: Path | None = None,
    ) -> None:
        several = isinstance(analysts, Mapping)
        self.analysts = dict(analysts) if several else {analysts.name: analysts}
        self.who = next(iter(self.analysts))
        self.gallery = gallery
        self.reviews = reviews or work_path() / "04_chat" / "reviews.jsonl"
        self.report = report
        self.turns: list[Turn] = []
        self.picture: Picture | None = None
        self.face: Face | None = None
        self.opinions: dict[str, Opinion] = {}
        self.findings: tuple[Finding, ...] = ()
        if warning := self._warning():
            self._say("note", f"{self.who} answers.{warning}")

    @property
    def analyst(self) -> ChatAnalyst:
        """The analyst that answers."""
        return self.analysts[self.who]

    @property
    def image(self) -> np.ndarray | None:
        """The framed face on the table, (H, W, 3) uint8, or the whole picture without a face."""
        return None if self.picture is None else framed(self.picture)

    @property
    def opinion(self) -> Opinion:
        """What the analyst that answers has said of the picture so far."""
        return self.opinions.setdefault(self.who, Opinion())

    def switch(self, name: str) -> None:
        """Let another analyst answer; it has heard nothing, and gets nothing until it is asked."""
        if name != self.who:
            self.who = name
            self._say("note", f"{name} answers from here on.{self._warning()}")

    def samples(self, n: int = 10) -> list[Face]:
        """Return gallery faces: categories in turn, new people first, shown in no telling order."""
        faces, people = list(self.gallery or ()), set[str]()
        chosen: list[Face] = []
        for category in islice(cycle(sorted({face.category for face in faces})), n):
            rest = [face for face in faces if face.category is category and face not in chosen]
            if rest:
                chosen.append(min(rest, key=lambda face: not people.isdisjoint(face.identities)))
                people.update(chosen[-1].identities)
        return sorted(chosen, key=lambda face: face.sha256)

    def pick(self, face_id: str) -> bool:
        """Put a face of the gallery on the table; False if that failed."""

        def load() -> None:
            face = self.gallery[face_id]
            self._show(self.gallery.image(face), "A face from the gallery.", face)

        return self._try(load)

    def upload(self, content: bytes | Path, name: str, aligned: bool = False) -> bool:
        """Find the face on a photograph and put it on the table; False if that failed.

        ``aligned`` takes the picture as it is: already framed as the lessons frame faces. A
        picture without a face is shown whole, and gets no verdict.
        """

        def load() -> None:
            if content == b"":
                raise DataError(f"{name}: {ARRIVED_EMPTY}")
            image = open_photo(content, name)
            face, *_ = (not aligned and pictures(image, self.analyst.side)) or [image]
            self._show(face, f"{name}.")
            if isinstance(face, FaceCrop) and face.note:
                self._say("note", face.note)

        return self._try(load)

    def ask(self, text: str) -> Iterator[str]:
        """Yield the answer piece by piece; question and answer enter the transcript.

        An interrupted answer is kept as far as it came. Of a picture outside the analyst's
        scope nothing is asked, and an answer that contradicts the verdict is told.
        """
        text = text.strip()
        if not self._has_picture():
            return
        if not text or len(text) > LONGEST_QUESTION:
            mend = f"Please ask in at most {LONGEST_QUESTION} characters."
            self._say("error", mend if text else "The question is empty; type one.")
            return
        self._say("person", text)
        answer = ""
        try:
            if why := self._refusal():
                self._say("note", why)
                return
            for piece in self.analyst.stream(self.image, self.opinion.history, text):
                answer += piece
                yield piece
            if not answer.strip():
                self._say("error", "The analyst gave no answer; ask in other words.")
        except Exception as error:  # any analyst, any fault: a chat must go on
            self._say("error", _sentence(error))
        finally:
            if answer.strip():
                self._say("analyst", answer.strip())
                self.opinion.history.append((text, answer.strip()))
                self._compare([(text, answer)])

    def verdict(self) -> Verdict | None:
        """Score the picture on the table; None without one, or when scoring failed."""

        def score() -> None:
            (self.opinion.verdict,) = judge(
                self.analyst, [self.picture], calibration=self._calibration()
            )
            self._compare(self.opinion.history)

        if self.image is not None and self.opinion.verdict is None:
            self._try(score)
        return self.opinion.verdict

    def evidence_map(self) -> np.ndarray | None:
        """Return what each patch adds to the forged logit, (g, g); None if there is no verdict."""

        def occlude() -> None:
            if why := self._refusal():
                self._say("note", why)
            else:
                self.opinion.evidence = occlusion_map(self.analyst, self.image)

        if self._has_picture() and self.opinion.evidence is None:
            self._try(occlude)
        return self.opinion.evidence

    def counterpart(self) -> np.ndarray | None:
        """Return the bona fide picture behind a forged gallery face, where it is known."""
        if self.face is None or self.face.source is None:
            return None
        try:
            return self.gallery.image(self.gallery[self.face.source])
        except DataError:  # the source may lie in another split than the gallery
            return None

    def reveal(self) -> None:
        """Tell what is known about a gallery face; an upload has no known truth."""
        if self.face is None:
            self._say("note", "Nobody knows the truth about an uploaded picture here.")
            return
        method = f", made by {self.face.method}" if self.face.method else ""
        truth, twin = f"The truth: {self.face.category.phrase}{method}.", self.counterpart()
        if twin is None:
            self._say("note", truth)
        else:
            pair = np.hstack([twin, self.image])
            self._say("note", f"{truth} Left its bona fide counterpart, right this face.", pair)

    def add_finding(self, region: Region, artifact: Artifact, words: str = "") -> bool:
        """Note what a person sees on the picture, for the review; False without a picture.

        The same region and artifact again is the same finding in other words.
        """
        if not self._has_picture():
            return False
        others = (f for f in self.findings if (f.region, f.artifact) != (region, artifact))
        new = Finding(region=region, artifact=artifact, evidence=words.strip())
        self.findings = (*others, new)
        return True

    def review(self, category: Category | None, person: str, words: str = "") -> Review | None:
        """Keep a person's verdict on the picture as one JSON line; None if that failed.

        Without a ``category`` the person confirms the analyst's. The findings noted go with it.
        """
        person, verdict = person.strip(), self.opinion.verdict
        if self.image is None or not person:
            self._say("error", "A review needs a picture and your name.")
            return None
        said = verdict.category if verdict else None
        category = category or said
        if category is None:
            self._say("error", "There is no verdict to confirm; choose a category of your own.")
            return None
        if self.findings and not category.forged:
            self._say("error", "A bona fide face has no findings; clear them or name a forgery.")
            return None
        record = Review(
            face=self.face.id if self.face else None, sha256=fingerprint(self.image),
            analyst=self.who, forged=verdict.forged if verdict else None, said=said,
            category=category, findings=self.findings, words=words.strip(), person=person,
            when=datetime.now(UTC),
        )  # fmt: skip

        def keep() -> None:
            with JsonlLog(self.reviews) as log:
                log.append(record)

        if not self._try(keep):
            return None
        self._say("note", _told(record))
        self.findings = ()
        return record

    def export_html(self, path: Path) -> Path | None:
        """Write the conversation as one file that needs no other; None if that failed."""

        def write() -> None:
            content = page.report(self.turns, self._parts(), list(self.analysts))
            write_atomic(path, content)

        if not self._try(write):
            return None
        self._say("note", f"The report lies in {path}.")
        return path

    def _calibration(self) -> Calibration | None:
        return calibration(self.analyst, self.report) if self.report else None

    def _refusal(self) -> str:
        """Why the analyst cannot judge the picture on the table; "" if it can."""
        fitted = self._calibration()
        if fitted and fitted.scope:
            self.verdict()  # a score may be too close to call
        if self.opinion.verdict:
            return self.opinion.verdict.abstained
        return refusals(self.analyst, [self.picture], None)[0]

    def _compare(self, said: Sequence[tuple[str, str]]) -> None:
        """Tell where answers to questions contradict the numbers beside them."""
        if verdict := self.opinion.verdict:
            for why in filter(None, (verdict.disagreement(a, q) for q, a in said)):
                self._say("note", why)

    def _parts(self) -> list[str]:
        """The last picture, and what every analyst that was asked holds of it."""
        parts = [] if self.image is None else [page.figure(self.image, "The last picture")]
        for name, one in self.opinions.items():
            if one.verdict is not None:
                parts.append(page.verdict_html(name, one.verdict))
            if one.evidence is not None:
                parts.append(page.figure(paint(self.image, one.evidence), f"{name}: {LEGEND}"))
        return parts

    def _warning(self) -> str:
        """Whoever shows a picture should know where it goes."""
        place = self.analyst.place
        return f" Pictures and questions are sent to {place}." if place else ""

    def _show(self, picture: Picture, text: str, face: Face | None = None) -> None:
        self.picture, self.face = picture, face
        self.opinions, self.findings = {}, ()
        self._say("picture", text, self.image)

    def _has_picture(self) -> bool:
        if self.image is None:
            self._say("error", "Pick or upload a picture first.")
        return self.image is not None

    def _say(self, role: Role, text: str, image: np.ndarray | None = None) -> None:
        self.turns.append(Turn(role, text, image, self.who * (role == "analyst")))

    def _try(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except Exception as error:  # shown to the person in one sentence
            self._say("error", _sentence(error))
            return False
        return True


def _told(review: Review) -> str:
    """A review in a sentence, for the transcript."""
    seen = [
        f"{f.region}: {f.artifact}{f' ({f.evidence})' * bool(f.evidence)}" for f in review.findings
    ]
    verb = "confirms" if review.confirms else "says"
    parts = [f"{review.person} {verb}: {review.category.phrase}", *seen, review.words]
    return ". ".join(part.rstrip(".") for part in parts if part) + "."


def _sentence(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error)
    first = (str(error).strip().splitlines() or ["no reason given"])[0]
    return f"The analyst failed ({type(error).__name__}: {first:.120}); try again."
