"""The chat on a real kernel: twenty visits, and an interruption in mid-answer."""

import os
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from jupyter_client.manager import KernelManager, start_new_kernel

ROOT = Path(__file__).parents[1]
MIB = 1 << 20
START = """
import time
from pathlib import Path
import torch
from IPython.display import display
from stand_in import RedEye, portrait
from dfa_lib.chat.session import ChatSession
from dfa_lib.chat.view import ChatView
from dfa_lib.files import png
from dfa_lib.gpt.analyst import LocalAnalyst
from dfa_lib.instruct.faceset import FaceSet
from dfa_lib.runtime import lesson
torch.set_num_threads(1)
gallery = FaceSet.read(lesson(Path("none"), "01_instruct")).split("test")
analyst = LocalAnalyst(lesson(Path("none"), "02_gpt"))
me = png(portrait())
"""
VISIT = """
session = ChatSession(analyst, gallery, Path("reviews.jsonl"))
view = ChatView(session, report=Path("report.html"))
display(view)
for face in gallery.faces[:2]:
    view.pick(face.id)
    for question in ("Has this face been forged?", "Which artifacts are there?", "Why?"):
        view.ask(question)
view.buttons["Show evidence"].click()
session.upload(me, "me.png", aligned=True)
view.person.value = "Ada"
view.buttons["I agree with the analyst"].click()
view.buttons["Export report"].click()
view
"""
SETTLE = """
import ctypes, gc
gc.collect()
getattr(ctypes.CDLL(None), "malloc_trim", bool)(0)
"""
"""Else what is free, but not given back yet, tells more of the moment than of the visits."""


class Kernel:
    """A kernel in a process of its own, and a client to it."""

    def __init__(self, manager: KernelManager, client: object) -> None:
        self.manager, self.client = manager, client
        self.process = psutil.Process(int(self.run("import os; print(os.getpid())")))

    def run(self, code: str, seconds: float = 600) -> str:
        """Run a cell, without waiting for what it prints; return that once it is done."""
        said: list[str] = []

        def hear(message: dict) -> None:
            said.append(message["content"].get("text", ""))

        reply = self.client.execute_interactive(code, timeout=seconds, output_hook=hear)
        assert reply["content"]["status"] == "ok", reply["content"].get("traceback")
        return "".join(said)

    @property
    def memory(self) -> float:
        """MiB that the process cannot do without."""
        self.run(SETTLE)
        return self.process.memory_info().rss / MIB


@pytest.fixture(scope="module")
def kernel(warm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    manager, client = start_new_kernel(
        cwd=str(tmp_path_factory.mktemp("kernel")), env=env, startup_timeout=120
    )
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_visits_one_after_another_leave_memory_flat(kernel: Kernel) -> None:
    """As when a cell is run again and again: 20 sessions and views with the real model."""
    kernel.run(START)
    sizes = []
    for _ in range(20):
        kernel.run(VISIT)
        sizes.append(kernel.memory)
    print(f"MiB after 1, 5, 10, 15, 20 visits: {[round(sizes[n]) for n in (0, 4, 9, 14, 19)]}")
    assert max(sizes) - sizes[0] < 10, "MiB more than after the first visit"
    count = "from ipywidgets.widgets.widget import _instances; print(len(_instances))"
    assert int(kernel.run(count)) < 250, "widgets of one view, not of twenty"


SLOW = """
class Slow(RedEye):
    def stream(self, image, history, text):
        for number in range(200):
            yield f"word{number} "
            time.sleep(0.05)

session = ChatSession(Slow(), gallery, Path("reviews.jsonl"))
view = ChatView(session)
display(view)
view.pick(gallery.faces[0].id)
send = view.buttons["Forged?"]
print(send.comm.comm_id, end="")
"""


def click(kernel: Kernel, comm: str) -> str:
    """Press a button as the page does."""
    content = {"comm_id": comm, "data": {"method": "custom", "content": {"event": "click"}}}
    message = kernel.client.session.msg("comm_msg", content)
    kernel.client.shell_channel.send(message)
    return message["header"]["msg_id"]


def wait_for(kernel: Kernel, parent: str, said: str, seconds: float = 60) -> None:
    """Wait until the page would be told ``said`` in the course of ``parent``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            message = kernel.client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") == parent and said in str(message["content"]):
            return
    raise AssertionError(f"never heard {said!r}")


@pytest.mark.timeout(300)
def test_an_interruption_in_mid_answer_leaves_a_usable_chat(kernel: Kernel) -> None:
    kernel.run(START)
    comm = kernel.run(SLOW)
    asked = click(kernel, comm)
    wait_for(kernel, asked, "word3 ")
    kernel.manager.interrupt_kernel()
    wait_for(kernel, asked, "idle")
    told = kernel.run("print(len(session.turns), session.turns[-1].role, session.turns[-1].text)")
    assert told.startswith("3 analyst word0 word1 word2 word3") and "word150" not in told
    assert kernel.run(
        "print(any(one.disabled for one in view.buttons.values()), view.live.value)"
    ) == ("False \n")
    kernel.run("session.analysts['stand-in'] = RedEye()")
    again = click(kernel, comm)
    wait_for(kernel, again, "After 1 questions")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_model_itself_may_be_interrupted(kernel: Kernel) -> None:
    """Wherever it is hit, the next answer is the one that an undisturbed analyst gives."""
    kernel.run(START + "import signal, random\n")
    kernel.run("""
face, dice = gallery.image(gallery.faces[0]), random.Random(0)
question = "Which artifacts are there on this face, and what do they tell?"
def answer(): return "".join(analyst.stream(face, (), question))
right = answer()  # the first one also warms up
begin = time.perf_counter(); assert answer() == right; whole = time.perf_counter() - begin
hits = 0
while hits < 12:  # else the test takes too long
    signal.setitimer(signal.ITIMER_REAL, whole * dice.random())
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        answer()
    except KeyboardInterrupt:
        hits += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert answer() == right
""")
