"""The chat as core ipywidgets that work alike in 7.7 (Colab) and 8.

Handlers are plain methods that may be called directly, and ``buttons`` may be clicked. Answers
stream by assigning ``.value`` in the main thread: Colab drops updates from other threads.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as widgets
from IPython.display import display

from dfa_lib.chat.occlusion import LEGEND, paint
from dfa_lib.chat.page import html
from dfa_lib.chat.parts import OWN_WIDTH, choice, column, row, text, uploaded
from dfa_lib.chat.session import QUICK, ChatSession
from dfa_lib.records import Face
from dfa_lib.runtime import work_path
from dfa_lib.taxonomy import Artifact, Category, Region, Task

_QUICK = {Task.DF_D: "Forged?", Task.DF_C: "Which kind?", Task.AD: "Which artifacts?"}


class ChatView:
    """Shows a ChatSession in a notebook; ``root`` is the widget that holds all others.

    ``buttons`` are by label. A kernel keeps every widget until it is closed, so a new view closes
    the one before it.
    """

    _open: ClassVar["ChatView | None"] = None

    def __init__(self, session: ChatSession, samples: int = 8, report: Path | None = None) -> None:
        if ChatView._open:
            ChatView._open.close()
        ChatView._open = self
        self.session = session
        self.report = report or work_path() / "04_chat" / "report.html"
        self.log, self.live, self.found = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.picture, self.verdict, self.evidence = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.text = text("Question", "Ask about this face")
        self.who = choice("Analyst", list(session.analysts))
        self.file = widgets.FileUpload(
            accept="image/*", description="Your photo", tooltip="Your photo", layout=OWN_WIDTH
        )
        self.path = text("or its path", "where the notebook runs")
        self.person = text("Name", "who you are", "160px")
        self.region = choice("Region", [region.value for region in Region])
        self.artifact = choice("Artifact", [artifact.value for artifact in Artifact])
        self.seen = text("What you see", "optional")
        self.category = choice("My verdict", [(kind.phrase, kind) for kind in Category])
        self.why = text("Why", "optional")
        self.buttons: dict[str, widgets.Button] = {}
        self.root = self._layout(session.samples(samples))
        self.root.add_class("dfa-root")
        self._connect()
        self.refresh()

    def act(self, work: Callable[[], object], remark: str = "") -> None:
        """Do something, then show the session as it is.

        The controls are barred meanwhile: a click would only queue up behind it.
        """
        self._bar(True)
        self.live.value = html("live", remark)
        try:
            work()
        finally:  # also when the person interrupts the kernel
            self._bar(False)
            self.refresh()

    def pick(self, face_id: str) -> None:
        """Put a gallery face on the table."""
        self._judge(lambda: self.session.pick(face_id))

    def on_upload(self, change: dict[str, Any]) -> None:
        """Put an uploaded photograph on the table."""
        if file := uploaded(change["new"]):
            name, content = file
            self._judge(lambda: self.session.upload(content, name))
            # emptied, so that the same file can come again
            self.file.set_trait("value", type(self.file.value)())

    def on_path(self) -> None:
        """Put the photograph at a path on the table."""
        if typed := self.path.value.strip().strip("\"'"):  # as a file manager copies it
            self._judge(lambda: self.session.upload(Path(typed).expanduser(), typed))
            self.path.value = ""

    def on_switch(self, change: dict[str, Any]) -> None:
        """Let another analyst answer, and judge what is on the table if it does so here."""

        def switch() -> None:
            self.session.switch(change["new"])
            if not self.session.analyst.place:
                self.session.verdict()

        self.act(switch, f"{change['new']} looks at the face …")

    def on_send(self) -> None:
        """Ask what is in the text box."""
        question, self.text.value = self.text.value, ""
        self.ask(question)

    def ask(self, question: str) -> None:
        """Ask, and show the answer while it comes."""

        def stream() -> None:
            answer = ""
            with closing(self.session.ask(question)) as pieces:
                for piece in pieces:
                    if not answer:  # by now the question is in the transcript
                        self.log.value = html("transcript", self.session.turns)
                    answer += piece
                    self.live.value = html("live", answer)

        self.act(stream, "The analyst is thinking …")

    def refresh(self) -> None:
        """Show the session as it is now."""
        session, mine = self.session, self.session.heard
        self.log.value = html("transcript", session.turns)
        self.live.value = ""
        said = session.said_by.items()
        others = {name: one.verdict for name, one in said if one.verdict and one is not mine}
        self.verdict.value = html("verdict", session.who, mine.verdict, others)
        moved = None if mine.evidence is None else paint(session.image, mine.evidence)
        self.picture.value = html("figure", session.image, "The picture as analysed")
        self.evidence.value = html("figure", moved, LEGEND)
        self.found.value = html("found", session.findings)

    def close(self) -> None:
        """Take the view off the page and out of the kernel's memory.

        A notebook's ``Out`` may keep the view for good: it holds nothing any more.
        """
        for widget in [*_all_below(self.root)]:
            widget.close()
        if ChatView._open is self:
            ChatView._open = None
        vars(self).clear()

    def _judge(self, put: Callable[[], object]) -> None:
        self.act(lambda: put() and self.session.verdict(), "Looking at the face …")

    def _add_finding(self) -> None:
        region, artifact = Region(self.region.value), Artifact(self.artifact.value)
        if self.session.add_finding(region, artifact, self.seen.value):
            self.seen.value = ""

    def _review(self, category: Category | None) -> None:
        if self.session.review(category, self.person.value, self.why.value):
            self.why.value = ""

    def _bar(self, busy: bool) -> None:
        for widget in (*self.buttons.values(), self.text, self.who, self.file, self.path):
            widget.disabled = busy

    def _button(self, label: str, handler: Callable[[], None], style: str = "") -> widgets.Button:
        button = widgets.Button(
            description=label, tooltip=label, button_style=style, layout=OWN_WIDTH
        )
        button.on_click(lambda _: handler())
        self.buttons[label] = button
        return button

    def _layout(self, samples: list[Face]) -> widgets.Widget:
        self.who.layout.display = "" if len(self.session.analysts) > 1 else "none"
        # thumbnails do not say what the faces are
        cards = [self._card(face, number) for number, face in enumerate(samples, start=1)]
        gallery = row([*cards, self.file, self.path])
        gallery.add_class("dfa-gallery")
        left = column([self.picture, self.verdict, self.evidence], "1 1 300px")
        right = column([*self._talk(), self._form()], "3 1 420px")
        table = row([left, right])
        table.layout.align_items = "flex-start"
        return widgets.VBox([widgets.HTML(html("head")), row([self.who]), gallery, table])

    def _card(self, face: Face, number: int) -> widgets.Widget:
        content = html("picture", self.session.gallery.image(face), f"Face {number}", 84)
        button = self._button(f"Face {number}", partial(self.pick, face.id))
        return column([widgets.HTML(content), button], "0 0 auto")

    def _talk(self) -> list[widgets.Widget]:
        """Transcript, questions and tools."""
        session, act = self.session, self.act
        quick = [self._button(_QUICK[one], partial(self.ask, QUICK[one])) for one in QUICK]
        line = [self.text, self._button("Send", self.on_send, "primary")]
        hiding = partial(act, session.evidence_map, "Hiding one patch after another …")
        export = partial(session.export_html, self.report)
        tools = [
            self._button("Show evidence", hiding),
            self._button("Reveal the truth", partial(act, session.reveal)),
            self._button("Export report", partial(act, export)),
        ]
        return [self.log, self.live, *map(row, (quick, line, tools))]

    def _form(self) -> widgets.Widget:
        """Where a person confirms, corrects, or adds a finding."""
        act = self.act
        add = self._button("Add finding", partial(act, self._add_finding))
        clear = self._button("Clear findings", partial(act, self.session.clear_findings))
        keep = partial(act, lambda: self._review(self.category.value))
        agree = partial(act, lambda: self._review(None))
        rows = [
            [self.region, self.artifact, self.seen, add, clear],
            [self.found],
            [self.person, self.category, self.why],
            [
                self._button("Keep my verdict", keep, "primary"),
                self._button("I agree with the analyst", agree),
            ],
        ]
        box = widgets.VBox([widgets.HTML(html("form")), *map(row, rows)])
        box.add_class("dfa-form")
        return box

    def _connect(self) -> None:
        self.file.observe(self.on_upload, "value")
        self.who.value = self.session.who
        self.who.observe(self.on_switch, "value")
        with warnings.catch_warnings():  # 8 prefers a way that 7 does not have
            warnings.simplefilter("ignore", DeprecationWarning)
            self.text.on_submit(lambda _: self.on_send())
            self.path.on_submit(lambda _: self.on_path())

    def _ipython_display_(self) -> None:
        display(self.root)


def _all_below(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    """A widget and all it holds, the innermost first."""
    for child in getattr(widget, "children", ()):
        yield from _all_below(child)
    for part in (widget, widget.layout, getattr(widget, "style", None)):
        if isinstance(part, widgets.Widget):
            yield part
