"""Ask the analyst that comes with the package about a picture, on a web page."""

from pathlib import Path

import gradio as gr

from dfa_lib.chat.page import LIMITS
from dfa_lib.chat.session import ChatSession
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.runtime import RESCUE

analyst = LocalAnalyst(RESCUE / "02_gpt")
QUESTION = "Describe the artifacts of this face."


def look(photo: str, question: str, framed: bool) -> tuple[str, dict[str, float] | None]:
    """Return what the chat of lesson 04 says, and P(category) if it gives a verdict."""
    session = ChatSession(analyst, report=RESCUE / "03_bench")
    verdict = session.upload(Path(photo), Path(photo).name, framed) and session.verdict()
    if not verdict or verdict.abstained:
        return verdict.sentence if verdict else session.turns[-1].text, None
    answer = "".join(session.ask(question))
    shares = {kind.phrase: share for kind, share in verdict.categories.items()}
    return f"{verdict.sentence}. {verdict.origin}\n\n{answer}", shares


photo, framed = gr.Image(type="filepath", label="A picture"), gr.Checkbox(label="framed already")
page = gr.Interface(
    look,
    [photo, gr.Textbox(QUESTION, label="Question"), framed],
    [gr.Textbox(label="The analyst"), gr.Label(label="Probabilities")],
    title="Interactive deepfake analysis",
    description=LIMITS,
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
