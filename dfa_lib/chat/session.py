"""A conversation with an analyst about one picture at a time; knows no widget.

Nothing raises out of a session: what goes wrong becomes one sentence in the transcript.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from dfa_lib.analysts import ChatAnalyst, asked
from dfa_lib.bench.calibration import Calibration, calibration
from dfa_lib.bench.scope import Picture, framed, refusals
from dfa_lib.chat.occlusion import occlusion_map
from dfa_lib.chat.page import Heard, Role, Turn, html, review_text
from dfa_lib.chat.verdict import Verdict, judge
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
        self.said_by: dict[str, Heard] = {}
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
    def heard(self) -> Heard:
        """What the analyst that answers has said of the picture so far."""
        return self.said_by.setdefault(self.who, Heard())

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

    def pick(self, face_id: str) -> bool | None:
        """Put a face of the gallery on the table; None if that failed."""
        with self._telling():
            face = self.gallery[face_id]
            self._show(self.gallery.image(face), "A face from the gallery.", face)
            return True

    def upload(self, content: bytes | Path, name: str, aligned: bool = False) -> bool | None:
        """Find the face on a photograph and put it on the table; None if that failed.

        ``aligned`` takes the picture as it is: already framed as the lessons frame faces. A
        picture without a face is shown whole, and gets no verdict.
        """
        with self._telling():
            if content == b"":
                raise DataError(
                    f"{name}: arrived empty, as large uploads may in Colab and VS Code;"
                    " give its path beside the upload, or upload a smaller copy"
                )
            image = open_photo(content, name)
            face, *_ = (not aligned and pictures(image, self.analyst.side)) or [image]
            self._show(face, f"{name}.")
            if isinstance(face, FaceCrop) and face.note:
                self._say("note", face.note)
            return True

    def ask(self, text: str) -> Iterator[str]:
        """Yield the answer piece by piece; question and answer enter the transcript.

        An interrupted answer is kept as far as it came. Of a picture outside the analyst's
        scope nothing is asked, and an answer that contradicts the verdict is told.
        """
        answer = ""
        with self._telling():
            self._need_picture()
            text = asked(text)
            self._say("person", text)
            if why := self._refusal():
                self._say("note", why)
                return
            try:
                for piece in self.analyst.stream(self.image, self.heard.history, text):
                    answer += piece
                    yield piece
                if not answer.strip():
                    raise DataError("The analyst gave no answer; ask in other words.")
            except DataError:  # what a failure left is no answer
                answer = ""
                raise
            finally:
                if answer.strip():
                    self._say("analyst", answer.strip())
                    self.heard.history.append((text, answer.strip()))
                    self._compare([(text, answer)])

    def verdict(self) -> Verdict | None:
        """Score the picture on the table; None without one, or when scoring failed."""
        with self._telling():
            if self.picture is not None and self.heard.verdict is None:
                known = self._calibration()
                (self.heard.verdict,) = judge(self.analyst, [self.picture], known)
                self._compare(self.heard.history)
            return self.heard.verdict

    def evidence_map(self) -> np.ndarray | None:
        """Return what each patch adds to the forged logit, (g, g); None if there is no verdict."""
        with self._telling():
            self._need_picture()
            if self.heard.evidence is None:
                if why := self._refusal():
                    self._say("note", why)
                else:
                    self.heard.evidence = occlusion_map(self.analyst, self.image)
            return self.heard.evidence

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
        if twin is not None:
            truth += " Left its bona fide counterpart, right this face."
        self._say("note", truth, None if twin is None else np.hstack([twin, self.image]))

    def add_finding(self, region: Region, artifact: Artifact, words: str = "") -> bool | None:
        """Note what a person sees on the picture, for the review; None without a picture.

        The same region and artifact again is the same finding in other words.
        """
        with self._telling():
            self._need_picture()
            others = (f for f in self.findings if (f.region, f.artifact) != (region, artifact))
            new = Finding(region=region, artifact=artifact, evidence=words.strip())
            self.findings = (*others, new)
            return True

    def clear_findings(self) -> None:
        """Drop the findings that were noted and not kept."""
        self.findings = ()

    def review(self, category: Category | None, person: str, words: str = "") -> Review | None:
        """Keep a person's verdict on the picture as one JSON line; None if that failed.

        Without a ``category`` the person confirms the analyst's. The findings noted go with it.
        """
        with self._telling():
            person, verdict = person.strip(), self.heard.verdict
            said = verdict.category if verdict else None
            category = category or said
            if self.image is None or not person:
                raise DataError("A review needs a picture and your name.")
            if category is None:
                raise DataError("There is no verdict to confirm; choose a category of your own.")
            if self.findings and not category.forged:
                raise DataError("A bona fide face has no findings; clear them or name a forgery.")
            record = Review(
                face=self.face.id if self.face else None,
                sha256=fingerprint(self.image),
                analyst=self.who,
                forged=verdict.forged if verdict else None,
                said=said,
                category=category,
                findings=self.findings,
                words=words.strip(),
                person=person,
                when=datetime.now(UTC),
            )
            with JsonlLog(self.reviews, Review) as log:
                log.append(record)
            self._say("note", review_text(record))
            self.findings = ()
            return record

    def export_html(self, path: Path) -> Path | None:
        """Write the conversation as one file that needs no other; None if that failed."""
        with self._telling():
            when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
            said = list(self.analysts), self.image, self.said_by, when
            write_atomic(path, html("report", self.turns, *said))
            self._say("note", f"The report lies in {path}.")
            return path

    def _calibration(self) -> Calibration | None:
        return calibration(self.analyst, self.report) if self.report else None

    def _refusal(self) -> str:
        """Why the analyst cannot judge the picture on the table; "" if it can."""
        fitted = self._calibration()
        if fitted and fitted.scope:
            self.verdict()  # a score may be too close to call
        if self.heard.verdict:
            return self.heard.verdict.abstained
        return refusals(self.analyst, [self.picture], None)[0]

    def _compare(self, said: Sequence[tuple[str, str]]) -> None:
        """Tell where answers to questions contradict the numbers beside them."""
        if verdict := self.heard.verdict:
            for why in filter(None, (verdict.disagreement(a, q) for q, a in said)):
                self._say("note", why)

    def _warning(self) -> str:
        """Whoever shows a picture should know where it goes."""
        place = self.analyst.place
        return f" Pictures and questions are sent to {place}." if place else ""

    def _show(self, picture: Picture, text: str, face: Face | None = None) -> None:
        self.picture, self.face = picture, face
        self.said_by, self.findings = {}, ()
        self._say("picture", text, self.image)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell what goes wrong in one sentence: any analyst, any fault, a chat must go on."""
        try:
            yield
        except Exception as error:
            self._say("error", _sentence(error))

    def _need_picture(self) -> None:
        if self.image is None:
            raise DataError("Pick or upload a picture first.")

    def _say(self, role: Role, text: str, image: np.ndarray | None = None) -> None:
        self.turns.append(Turn(role, text, image, self.who * (role == "analyst")))


def _sentence(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error)
    first = (str(error).strip().splitlines() or ["no reason given"])[0]
    return f"The analyst failed ({type(error).__name__}: {first:.120}); try again."
