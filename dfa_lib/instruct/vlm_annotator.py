"""Artifact descriptions by a vision model behind an endpoint: what it is shown and asked."""

from collections.abc import Iterator, Sequence

from pydantic import field_validator

from dfa_lib.endpoint import Answer, Endpoint, Request
from dfa_lib.files import png
from dfa_lib.instruct.annotate import Unanswered
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.instruct.prompting import Requests, Writer, plain
from dfa_lib.instruct.wording import meaning, say
from dfa_lib.records import Annotation, Face, Finding, Record
from dfa_lib.taxonomy import Artifact, Region, Task


class Claim(Record):
    """One finding as a model has to write it."""

    region: Region
    artifact: Artifact
    evidence: str

    _plain = field_validator("evidence")(plain)


class Description(Record):
    """The answer to the prompt "describe"; what looks ``natural`` may be left empty."""

    findings: list[Claim]
    natural: str

    _plain = field_validator("natural")(lambda text: plain(text) if text.strip() else "")


class Looking(Writer):
    """The annotator "endpoint": a vision model sees the pictures and is told the label.

    It is shown the pair for FS, FR and FE, and a single picture for bona fide and EFS, or
    wherever the counterpart is not known. The description is made of the sentences of its
    findings and of what it calls natural: nothing that is claimed escapes the audit.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, "describe", Description)

    def requests(self, faces: FaceSet, todo: Sequence[Face] | None = None) -> Requests[Face]:
        """Return what is sent for ``todo``, or all faces: for ``Endpoint.estimate``."""
        asked = list(faces) if todo is None else todo
        return Requests(lambda face: self._request(face, faces), asked)

    def describe(self, faces: FaceSet, todo: Sequence[Face]) -> Iterator[Annotation | Unanswered]:
        """Ask for every face of ``todo``, as many at once as the endpoint allows."""
        return self.ask(self.requests(faces, todo), self._note)

    def _request(self, face: Face, faces: FaceSet) -> Request:
        kind, shown = "single", [face]
        if not face.category.forged:
            kind = "bona fide"
        elif face.source:
            kind, shown = "pair", [faces[face.source], face]
        regions, artifacts = ", ".join(Region), ", ".join(Artifact)
        told = {"category": face.category.phrase, "meaning": meaning(face.category)}
        return Request(
            id=face.id,
            system=self._prompt.system.format(regions=regions, artifacts=artifacts),
            text=self._prompt.texts[kind].format(**told).strip(),
            images=tuple(png(faces.image(one)) for one in shown),
            max_tokens=self._prompt.max_tokens,
        )

    def _note(self, answer: Answer) -> Annotation:
        said = Description.model_validate(answer.parsed)
        sentences = [*(claim.evidence for claim in said.findings), said.natural]
        return Annotation(
            face=answer.id,
            findings=tuple(Finding(**claim.model_dump()) for claim in said.findings),
            text=" ".join(filter(None, sentences)) or say(Task.AD, "clean"),
            annotator=self.annotator,
            settings=answer.settings,
        )
