"""Thirty strings that run in pages that trust them, and a chat in which all of them were said.

Each would call ``alert`` or set ``window.hacked``. Most are of the OWASP and PortSwigger lists.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from stand_in import RedEye, red_patch

from dfa_lib.chat.session import ChatSession
from dfa_lib.chat.view import ChatView
from dfa_lib.taxonomy import Artifact, Category, Region

STRINGS = (
    "<script>alert(1)</script>",
    "<ScRiPt>window.hacked=1</sCrIpT>",
    "</div></div><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '<img src=x:x onerror="alert(1)">',
    '"><img src=x onerror=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" style="position:fixed;inset:0" x="',
    "' autofocus onfocus='alert(1)' x='",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<body onload=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<select autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<audio src=x onerror=alert(1)>",
    '<iframe srcdoc="<script>parent.hacked=1</script>"></iframe>',
    '<iframe src="javascript:parent.hacked=1"></iframe>',
    '<object data="javascript:alert(1)"></object>',
    '<embed src="javascript:alert(1)">',
    '<a href="javascript:alert(1)" id=x tabindex=1 autofocus onfocus=alert(1)>x</a>',
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    '<style>@keyframes x{}</style><b style="animation-name:x" onanimationstart=alert(1)>x</b>',
    "<marquee onstart=alert(1)>x</marquee>",
    "</title></textarea></style><script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;&#60;img src=x onerror=alert(1)&#62;",
    "$\\href{javascript:alert(1)}{x}$ [x](javascript:alert(1)) {{7*7}}<%= alert(1) %>",
)


class Parrot(RedEye):
    """An analyst that says one thing."""

    def __init__(self, said: str) -> None:
        self.said = said

    def stream(self, image: np.ndarray, history: Sequence, text: str) -> Iterator[str]:
        """Say it, in two pieces."""
        yield self.said[:5]
        yield self.said[5:]


def photo(comment: str) -> bytes:
    """A JPEG with the comment in every place of EXIF that takes one."""
    exif, file = Image.Exif(), BytesIO()
    for tag in (0x010E, 0x010F, 0x013B, 0x8298, 0x9286):  # description, maker, artist, rights, note
        exif[tag] = comment
    picture = Image.fromarray(red_patch())
    picture.save(file, "JPEG", exif=exif, comment=comment.encode())
    return file.getvalue()


def said_by_all(folder: Path) -> ChatView:
    """A view of a chat with every string through every door, and its report in ``folder``."""
    analysts = {text: Parrot(text) for text in STRINGS}
    session = ChatSession(analysts, reviews=folder / "reviews.jsonl")
    view = ChatView(session, report=folder / "report.html")
    for text in STRINGS:
        view.who.value = text
        session.upload(photo(text), f"{text}.jpg", aligned=True)
        session.upload(text.encode(), text)  # refused, by name
        view.ask(text)
        session.add_finding(Region.NOSE, Artifact.BLUR, text)
        session.review(Category.FE, text, text)
    session.add_finding(Region.EYES, Artifact.BLUR, STRINGS[3])
    view.buttons["Show evidence"].click()
    view.buttons["Export report"].click()
    return view
