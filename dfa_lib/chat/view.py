"""The chat as core ipywidgets that work alike in 7.7 (Colab) and 8.

Handlers are plain methods that may be called directly. Answers stream by assigning
``.value`` in the main thread: Colab drops updates from other threads.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as widgets
from IPython.display import display

from dfa_lib.chat import parts
from dfa_lib.chat.occlusion import LEGEND, paint
from dfa_lib.chat.page import html
from dfa_lib.chat.session import QUICK, ChatSession
from dfa_lib.records import Face
from dfa_lib.runtime import work_path
from dfa_lib.taxonomy import Artifact, Region, Task

_QUICK = {Task.DF_D: "Forged?", Task.DF_C: "Which kind?", Task.AD: "Which artifacts?"}


class ChatView:
    """Shows a ChatSession in a notebook; ``root`` is the widget that holds all others.

    A kernel keeps every widget until it is closed, so a new view closes the one before it.
    """

    _open: ClassVar["ChatView | None"] = None

    def __init__(self, session: ChatSession, samples: int = 8, report: Path | None = None) -> None:
        if ChatView._open:
            ChatView._open.close()
        ChatView._open = self
        self.session = session
        self.report = report or work_path() / "04_chat" / "report.html"
        self.log, self.live = widgets.HTML(), widgets.HTML()
        self.picture, self.verdict, self.evidence = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.text = parts.text("Question", "Ask about this face")
        self.who = parts.choice("Analyst", list(session.analysts))
        self.file = parts.upload("Your photo")
        self.path = parts.text("or its path", "where the notebook runs")
        self.form = parts.ReviewForm()
        self.active: list[widgets.Widget] = [self.text, self.who, self.file, self.path]
        self.root = self._layout(session.samples(samples))
        self.root.add_class("dfa-root")
        self._connect()
        self.refresh()

    def on_pick(self, face_id: str) -> None:
        """Put a gallery face on the table."""
        with self._busy("Looking at the face …"):
            if self.session.pick(face_id):
                self.session.verdict()

    def on_upload(self, change: dict[str, Any]) -> None:
        """Put an uploaded photograph on the table."""
        if file := parts.uploaded(change["new"]):
            self._look_at(file[1], file[0])
            # emptied, so that the same file can come again
            self.file.set_trait("value", type(self.file.value)())

    def on_path(self) -> None:
        """Put the photograph at a path on the table."""
        if typed := self.path.value.strip().strip("\"'"):  # as a file manager copies it
            self._look_at(Path(typed).expanduser(), typed)
            self.path.value = ""

    def on_switch(self, change: dict[str, Any]) -> None:
        """Let another analyst answer, and judge what is on the table if it does so here."""
        with self._busy(f"{change['new']} looks at the face …"):
            self.session.switch(change["new"])
            if not self.session.analyst.place:
                self.session.verdict()

    def on_send(self) -> None:
        """Ask what is in the text box."""
        text, self.text.value = self.text.value, ""
        self.ask(text)

    def ask(self, text: str) -> None:
        """Ask, and show the answer while it comes."""
        with self._busy("The analyst is thinking …"), closing(self.session.ask(text)) as pieces:
            answer = ""
            for piece in pieces:
                if not answer:  # by now the question is in the transcript
                    self.log.value = html("transcript", self.session.turns)
                answer += piece
                self.live.value = html("live", answer)

    def on_evidence(self) -> None:
        """Show which patches move the verdict."""
        with self._busy("Hiding one patch after another …"):
            self.session.evidence_map()

    def on_reveal(self) -> None:
        """Tell the known truth, with the bona fide counterpart where there is one."""
        self.session.reveal()
        self.refresh()

    def on_finding(self) -> None:
        """Note what the person sees, for the review."""
        form = self.form
        region, artifact = Region(form.region.value), Artifact(form.artifact.value)
        if self.session.add_finding(region, artifact, form.evidence.value):
            form.evidence.value = ""
        self.refresh()

    def on_clear(self) -> None:
        """Drop the findings that were noted and not kept."""
        self.session.findings = ()
        self.refresh()

    def on_review(self, agrees: bool = False) -> None:
        """Keep the verdict of the person at the keyboard, or that they agree with the analyst."""
        category = None if agrees else self.form.category.value
        if self.session.review(category, self.form.person.value, self.form.words.value):
            self.form.words.value = ""
        self.refresh()

    def on_export(self) -> None:
        """Write the conversation as one HTML file."""
        self.session.export_html(self.report)
        self.refresh()

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
        self.form.found.value = html("found", session.findings)

    def close(self) -> None:
        """Take the view off the page and out of the kernel's memory.

        A notebook's ``Out`` may keep the view for good: it holds nothing any more.
        """
        for widget in [*_all_below(self.root)]:
            widget.close()
        if ChatView._open is self:
            ChatView._open = None
        vars(self).clear()

    def _look_at(self, content: bytes | Path, name: str) -> None:
        with self._busy("Looking for a face …"):
            if self.session.upload(content, name):
                self.session.verdict()

    @contextmanager
    def _busy(self, remark: str) -> Iterator[None]:
        """Bar the controls meanwhile: a click would only queue up behind the answer."""
        self._bar(True)
        self.live.value = html("live", remark)
        try:
            yield
        finally:  # also when the person interrupts the kernel
            self._bar(False)
            self.refresh()

    def _bar(self, busy: bool) -> None:
        for widget in self.active:
            widget.disabled = busy

    def _button(self, label: str, handler: Callable[..., None], primary: bool = False) -> Any:
        button = parts.button(label, primary)
        button.on_click(lambda _: handler())
        self.active.append(button)
        return button

    def _layout(self, samples: list[Face]) -> widgets.Widget:
        self.who.layout.display = "" if len(self.session.analysts) > 1 else "none"
        top = [widgets.HTML(html("head")), parts.row([self.who]), self._gallery(samples)]
        left = parts.column([self.picture, self.verdict, self.evidence], "1 1 300px")
        right = parts.column([*self._talk(), self._form()], "3 1 420px")
        table = parts.row([left, right])
        table.layout.align_items = "flex-start"
        return widgets.VBox([*top, table])

    def _talk(self) -> list[widgets.Widget]:
        """Transcript, questions and tools."""
        quick = [self._button(_QUICK[one], partial(self.ask, QUICK[one])) for one in QUICK]
        line = [self.text, self._button("Send", self.on_send, primary=True)]
        tools = [
            self._button("Show evidence", self.on_evidence),
            self._button("Reveal the truth", self.on_reveal),
            self._button("Export report", self.on_export),
        ]
        return [self.log, self.live, *map(parts.row, (quick, line, tools))]

    def _form(self) -> widgets.Widget:
        """Where a person confirms, corrects, or adds a finding."""
        form = self.form
        add = self._button("Add finding", self.on_finding)
        clear = self._button("Clear findings", self.on_clear)
        keep = self._button("Keep my verdict", self.on_review, primary=True)
        agree = self._button("I agree with the analyst", partial(self.on_review, agrees=True))
        rows = [
            [form.region, form.artifact, form.evidence, add, clear],
            [form.found],
            [form.person, form.category, form.words],
            [keep, agree],
        ]
        box = widgets.VBox([widgets.HTML(html("form")), *map(parts.row, rows)])
        box.add_class("dfa-form")
        return box

    def _gallery(self, samples: list[Face]) -> widgets.Widget:
        """Thumbnails that do not say what the faces are, and the upload."""
        cards = [self._card(face, number) for number, face in enumerate(samples, start=1)]
        gallery = parts.row([*cards, self.file, self.path])
        gallery.add_class("dfa-gallery")
        return gallery

    def _card(self, face: Face, number: int) -> widgets.Widget:
        content = html("picture", self.session.gallery.image(face), f"Face {number}", 84)
        button = self._button(f"Face {number}", partial(self.on_pick, face.id))
        return parts.column([widgets.HTML(content), button], "0 0 auto")

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
