"""The chat as core ipywidgets that work alike in 7.7 (Colab) and 8.

Handlers are plain methods that may be called directly. Answers stream by assigning
``.value`` in the main thread: Colab drops updates from other threads.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from dfa_lib.chat import page
from dfa_lib.chat.overlay import LEGEND, paint
from dfa_lib.chat.session import QUICK, ChatSession
from dfa_lib.records import Face
from dfa_lib.runtime import work_path
from dfa_lib.taxonomy import Category, Task

_QUICK = {Task.DF_D: "Forged?", Task.DF_C: "Which kind?", Task.AD: "Which artifacts?"}


def uploaded(value: Any) -> tuple[str, bytes] | None:
    """Return name and content of an upload: a dict in ipywidgets 7, a tuple in 8."""
    if not value:
        return None
    if isinstance(value, dict):
        name, entry = next(iter(value.items()))
        return name, bytes(entry["content"])
    return value[0]["name"], bytes(value[0]["content"])


class ChatView:
    """Shows a ChatSession in a notebook; ``root`` is the widget that holds all others."""

    def __init__(self, session: ChatSession, samples: int = 8, report: Path | None = None) -> None:
        self.session = session
        self.report = report or work_path() / "04_chat" / "report.html"
        self.log, self.live = widgets.HTML(), widgets.HTML()
        self.picture, self.verdict, self.evidence = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.text = widgets.Text(placeholder="Ask about this face", layout=_wide())
        self.person = widgets.Text(placeholder="Your name", layout=_wide())
        self.words = widgets.Text(placeholder="Why? (optional)", layout=_wide())
        self.category = widgets.Dropdown(options=[(c.phrase, c) for c in Category], layout=_wide())
        self.file = widgets.FileUpload(
            accept="image/*", multiple=False, description="Your photo", tooltip="Upload a photo"
        )
        self.buttons: list[widgets.Button] = []
        self.root = self._layout(session.samples(samples))
        self._connect()
        self.refresh()

    def on_pick(self, face_id: str) -> None:
        """Put a gallery face on the table."""
        with self._busy("Looking at the face …"):
            self.session.pick(face_id)
            self.session.verdict()

    def on_upload(self, change: dict[str, Any]) -> None:
        """Put an uploaded photograph on the table."""
        if file := uploaded(change["new"]):
            with self._busy("Looking for a face …"):
                self.session.upload(file[1], file[0])
                self.session.verdict()

    def on_send(self, _: object = None) -> None:
        """Ask what is in the text box."""
        text, self.text.value = self.text.value, ""
        self.ask(text)

    def ask(self, text: str) -> None:
        """Ask, and show the answer while it comes."""
        with self._busy("The analyst is thinking …"):
            answer = ""
            for piece in self.session.ask(text):
                if not answer:  # by now the question is in the transcript
                    self.log.value = page.transcript(self.session.turns)
                answer += piece
                self.live.value = page.live(answer)

    def on_evidence(self, _: object = None) -> None:
        """Show which patches move the verdict."""
        with self._busy("Hiding one patch after another …"):
            self.session.evidence_map()

    def on_reveal(self, _: object = None) -> None:
        """Tell the known truth, with the bona fide counterpart where there is one."""
        self.session.reveal()
        self.refresh()

    def on_review(self, _: object = None) -> None:
        """Keep the verdict of the person at the keyboard."""
        self.session.review(self.category.value, self.person.value, self.words.value)
        self.refresh()

    def on_export(self, _: object = None) -> None:
        """Write the conversation as one HTML file."""
        self.session.export_html(self.report)
        self.refresh()

    def refresh(self) -> None:
        """Show the session as it is now."""
        session = self.session
        self.log.value = page.transcript(session.turns)
        self.live.value = ""
        self.verdict.value = page.verdict_html(session.known_verdict)
        shown, map_ = session.image, session.known_evidence
        self.picture.value = "" if shown is None else page.figure(shown, "The face as analysed")
        self.evidence.value = "" if map_ is None else page.figure(paint(shown, map_), LEGEND)

    @contextmanager
    def _busy(self, remark: str) -> Iterator[None]:
        """Bar the buttons meanwhile: a click would only queue up behind the answer."""
        self._bar(True)
        self.live.value = page.live(remark)
        try:
            yield
        finally:  # also when the person interrupts the kernel
            self._bar(False)
            self.refresh()

    def _bar(self, busy: bool) -> None:
        for widget in (*self.buttons, self.file):
            widget.disabled = busy

    def _button(self, label: str, handler: Callable[..., None], style: str = "") -> widgets.Button:
        button = widgets.Button(
            description=label,
            tooltip=label,
            button_style=style,
            layout=widgets.Layout(width="max-content", flex="0 0 auto"),
        )
        button.on_click(handler)
        self.buttons.append(button)
        return button

    def _layout(self, samples: list[Face]) -> widgets.Widget:
        quick = [self._button(_QUICK[task], partial(self._quick, task)) for task in QUICK]
        tools = [
            self._button("Show evidence", self.on_evidence),
            self._button("Reveal the truth", self.on_reveal),
            self._button("Export report", self.on_export),
        ]
        line = widgets.HBox([self.text, self._button("Send", self.on_send, "primary")])
        talk = [self.log, self.live, widgets.HBox(quick), line, _row(tools)]
        keep = self._button("Keep my verdict", self.on_review)
        mine = _row([self.category, self.person, self.words, keep])
        left = _column([self.picture, self.verdict, self.evidence], "330px")
        right = _column(
            [*talk, widgets.HTML("<b>Your own verdict</b>"), mine], "calc(100% - 342px)"
        )
        table = widgets.HBox([left, right], layout=widgets.Layout(width="100%"))
        return widgets.VBox([widgets.HTML(page.head(self.session.analyst.name)),
                             self._gallery(samples), table])  # fmt: skip

    def _quick(self, task: Task, _: object = None) -> None:
        self.ask(QUICK[task])

    def _gallery(self, samples: list[Face]) -> widgets.Widget:
        """Thumbnails that do not say what the faces are, and the upload."""
        cards = [self._card(face, number) for number, face in enumerate(samples, start=1)]
        return _row([*cards, self.file])

    def _card(self, face: Face, number: int) -> widgets.Widget:
        content = page.picture(self.session.gallery.image(face), f"Face {number}", 84)
        button = self._button(f"Face {number}", lambda _: self.on_pick(face.id))
        return _column([widgets.HTML(content), button], "max-content")

    def _connect(self) -> None:
        self.file.observe(self.on_upload, "value")
        with warnings.catch_warnings():  # 8 prefers a way that 7 does not have
            warnings.simplefilter("ignore", DeprecationWarning)
            self.text.on_submit(self.on_send)

    def _ipython_display_(self) -> None:
        display(self.root)


def _wide(width: str = "100%") -> widgets.Layout:
    return widgets.Layout(width=width)


def _row(children: list[widgets.Widget]) -> widgets.Widget:
    layout = widgets.Layout(flex_flow="row wrap", align_items="center")
    return widgets.HBox(children, layout=layout)


def _column(children: list[widgets.Widget], width: str) -> widgets.Widget:
    return widgets.VBox(children, layout=widgets.Layout(width=width))
