"""Any OpenAI-compatible model sits the exam: GPT-4o, vLLM, ``transformers serve``.

Where the endpoint gives log-probabilities, an answer is a letter and every option gets one;
where it does not, answers are texts. Each question is a conversation of its own, so that no answer
leaks into the next; the picture goes out once in each. What was paid for lies in the endpoint's
cache: a run that is resumed pays nothing twice.
"""

import re
import time
from collections.abc import Iterator, Sequence
from string import ascii_uppercase

import numpy as np

from dfa_lib.analysts import TASKS, Question, Reply
from dfa_lib.bench.exam import Exam
from dfa_lib.endpoint import Answer, Endpoint, Estimate, Request
from dfa_lib.files import digest, png

SYSTEM = "You examine photographs of faces. Answer the question about the picture and nothing else."
_LETTER = "Answer with the letter alone."
_HINT = "Answer with one of these sentences:"
_AROUND = " .()*:\n"
LONGEST = 300
"""Tokens of an answer in words."""


class EndpointAnalyst:
    """A model behind an endpoint as an analyst.

    Give the endpoint ``options={"logprobs": True, "top_logprobs": 20}`` if it offers them.
    ``hint`` lists the allowed answers below a closed question and tells the model its part;
    without it a question goes out as it is, which is what a model of lesson 02 was tuned on.
    """

    tasks, batch, side = TASKS, 256, 512

    def __init__(self, endpoint: Endpoint, name: str | None = None, hint: bool = True) -> None:
        self.endpoint, self.hint = endpoint, hint
        self.name = name or re.sub(r"[^\w.-]+", "-", endpoint.model).strip("-.")
        self.letters = bool(endpoint.options.get("logprobs"))
        settings = (endpoint.model, endpoint.address.url, endpoint.options, hint)
        self.fingerprint = digest(repr(settings))

    @property
    def place(self) -> str:
        """Where pictures and questions are sent."""
        return self.endpoint.address.url or "the vendor of the model"

    def estimate(self, exam: Exam) -> Estimate:
        """What the exam would cost at most; nothing is sent."""
        return self.endpoint.estimate(
            request
            for row in exam.plan()
            for request in self._requests(
                [exam.faces.image(row[0].face)], [[text for one in row for text in one.wordings]]
            )
        )

    def reply(
        self, images: Sequence[np.ndarray], questions: Sequence[Sequence[Question]]
    ) -> list[list[Reply]]:
        """Answer ``questions[i]`` on ``images[i]`` (RGB uint8, (H, W, 3)).

        Raises DataError if a request failed for good; all other answers are in the cache.
        """
        begin = time.perf_counter()
        requests = [*self._requests(images, questions)]
        answers = self.endpoint.ask_all(requests, None, self.name)
        seconds = (time.perf_counter() - begin) / max(1, sum(map(len, questions)))
        return [
            [self._read(one, answers[f"{i}/{j}"], seconds) for j, one in enumerate(asked)]
            for i, asked in enumerate(questions)
        ]

    def stream(
        self, image: np.ndarray, history: Sequence[tuple[str, str]], text: str
    ) -> Iterator[str]:
        """Answer ``text`` piece by piece as the server writes it, after ``history``."""
        (request,) = self._requests([image], [[Question(text)]])
        yield from self.endpoint.stream(request, history)

    def _requests(
        self, images: Sequence[np.ndarray], questions: Sequence[Sequence[Question]]
    ) -> Iterator[Request]:
        for i, (image, asked) in enumerate(zip(images, questions, strict=True)):
            picture = (png(image),)
            for j, question in enumerate(asked):
                yield Request(
                    id=f"{i}/{j}",
                    system=SYSTEM if self.hint else "",
                    text=self._text(question),
                    images=picture,
                    max_tokens=5 if self.letters and question.options else LONGEST,
                )

    def _text(self, question: Question) -> str:
        if not question.options or not (self.hint or self.letters):
            return question.text
        if not self.letters:
            return "\n".join([question.text, _HINT, *question.options])
        order = zip(ascii_uppercase, _shuffled(question), strict=False)
        rows = [f"{letter}. {question.options[at]}" for letter, at in order]
        return "\n".join([question.text, *rows, _LETTER])

    def _read(self, question: Question, answer: Answer, seconds: float) -> Reply:
        text, logprobs = _said(answer), None
        if question.options and self.letters:
            text, logprobs = _by_letter(question, answer)
        return Reply(text, logprobs, answer.tokens_out, seconds)


def _said(answer: Answer) -> str:
    return (answer.text or answer.refusal or "").strip()


def _shuffled(question: Question) -> list[int]:
    """The order in which the options are lettered: another for each wording.

    Models favour some letters; over several wordings that evens out.
    """
    seed = list(bytes.fromhex(digest(question.text)))
    return list(np.random.default_rng(seed).permutation(len(question.options)))


def _by_letter(question: Question, answer: Answer) -> tuple[str, tuple[float, ...] | None]:
    """The text and one log-probability per option, from those of the first token.

    A letter that is not among the tokens listed is no likelier than the last of them. If none
    is, a letter that stands alone is the answer, and anything else is read as text.
    """
    listed: dict[str, float] = {}
    for token, logprob in (answer.first or {}).items():
        letter = token.strip(_AROUND)
        listed[letter] = float(np.logaddexp(listed.get(letter, -np.inf), logprob))
    letters = dict(zip(_shuffled(question), ascii_uppercase, strict=False))
    if not set(letters.values()) & set(listed):
        meant = {letter: question.options[at] for at, letter in letters.items()}
        return meant.get(_said(answer).strip(_AROUND), _said(answer)), None
    least = min(answer.first.values())
    found = tuple(listed.get(letters[at], least) for at in range(len(question.options)))
    return question.options[int(np.argmax(found))], found
