"""Figures of lesson 02: what a LLaVA is made of, what LoRA adds to it, what tuning did."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from sklearn.metrics import roc_auc_score

from dfa_lib.figures import BLUE, INK, ORANGE, PALE, SERIES, SOFT, TEAL, canvas, listed

LINE = 104  # characters in a line of tokens


def panels(pictures: Mapping[str, np.ndarray], title: str, columns: int = 4) -> Figure:
    """Pictures (H, W) or (H, W, 3) side by side, each under its name."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = max(2.6 * columns, 4.5), 2.9 * rows + 0.5
    figure, axes = canvas(title, f"{title}. Pictures: {listed(pictures)}.", size, rows, columns)
    for ax in axes:
        ax.axis("off")
    for ax, (name, picture) in zip(axes, pictures.items(), strict=False):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
        ax.set_title(name, fontsize=11, color=INK)
    return figure


def anatomy(parts: Mapping[str, int], side: int, patches: int, words: int) -> Figure:
    """A LLaVA as boxes; ``parts`` are parameters by name, the rest sizes of one prompt."""
    vision, projector, language = (
        f"{parts[name] / 1e6:,.2f} M"
        for name in ("vision_tower", "multi_modal_projector", "language_model")
    )
    alt = (
        f"Boxes joined by arrows: a picture of {side} x {side} goes through the vision encoder"
        f" ({vision}, frozen) and becomes {patches} patches, the projector ({projector}, trained)"
        f" makes them “words”, and the language model ({language}, frozen, with trained LoRA) reads"
        f" them before {words} words of text and answers."
    )
    figure, (ax,) = canvas("A LLaVA, from picture to answer", alt, (11, 3.9))
    ax.set(xlim=(0, 112), ylim=(0, 38))
    ax.axis("off")
    _box(ax, (1, 22, 13, 12), f"picture\n{side} x {side}", PALE)
    _box(ax, (24, 22, 18, 12), f"vision encoder\n{vision}\nfrozen", BLUE)
    _box(ax, (54, 22, 14, 12), f"projector\n{projector}\ntrained", ORANGE)
    _box(ax, (1, 4, 13, 12), "question", PALE)
    _box(ax, (24, 4, 18, 12), "word\nembeddings\nfrozen", BLUE)
    _box(ax, (77, 4, 18, 30), f"language model\n{language}\nfrozen", BLUE)
    _box(ax, (77.8, 5, 16.4, 7), "+ LoRA, trained", ORANGE)
    _box(ax, (102, 13, 9, 12), "answer", PALE)
    for x, y, end, label in (
        (14.5, 28, 23.5, "pixels"), (42.5, 28, 53.5, f"{patches} patches"),
        (68.5, 28, 76.5, f"{patches}\n“words”"), (14.5, 10, 23.5, "text"),
        (42.5, 10, 76.5, f"{words} words"), (95.5, 19, 101.5, ""),
    ):  # fmt: skip
        _arrow(ax, x, y, end, label)
    return figure


def label_mask(branches: Sequence[tuple[Sequence[str], int]], image: int) -> Figure:
    """The tokens of some QA, supervised ones in colour.

    A branch is its tokens and the index at which the answer begins; ``image`` tokens
    stand before each.
    """
    rows = [_flow([f"[image x {image}]", *tokens]) for tokens, _ in branches]
    height = sum(row[-1][1] + 1.5 for row in rows)
    alt = (
        f"The tokens of {len(branches)} questions with answers, each behind {image} image tokens."
        " Only the answers, with the end-of-sequence token, are in the colour of the loss."
    )
    size = 11, 0.42 * height + 0.7
    figure, (ax,) = canvas("Where the loss looks: answers only", alt, size)
    ax.set(xlim=(0, LINE), ylim=(height - 0.8, -0.6))
    ax.axis("off")
    top = 0.0
    for row, (_, answer) in zip(rows, branches, strict=True):
        for index, (x, line, text) in enumerate(row):
            colour = TEAL if index == 0 else ORANGE if index > answer else PALE
            _token(ax, x, top + line, text, colour)
        top += row[-1][1] + 1.5
    return figure


def block_mask(seen: np.ndarray, positions: np.ndarray, prefix: int) -> Figure:
    """Who sees whom in a shared row: ``seen`` (L, L) bool by query and key, positions (L,).

    The first ``prefix`` tokens are the image's; every branch takes up the count after them.
    """
    part = np.cumsum(positions == prefix)
    colours = np.array([to_rgb(_part_colour(number)) for number in part])
    grid = np.where(seen[..., None], colours[None], 1.0)
    alt = (
        f"Left, who sees whom: all of {part[-1]} branches see the {prefix} tokens of the image, and"
        " below the diagonal of its own block each sees itself, but no other branch. Right, the"
        " positions: after the image, each branch begins to count at the same place again."
    )
    title = "One row: the image once, every question a branch"
    figure, (mask, place) = canvas(title, alt, (11, 5.2), 1, 2, width_ratios=(5, 4))
    mask.imshow(grid, interpolation="nearest")
    mask.set(xlabel="token that is looked at", ylabel="token that looks")
    mask.set_title("Who sees whom", fontsize=11)
    for number in range(part[-1] + 1):
        own = np.flatnonzero(part == number)
        name = "image" if number == 0 else f"QA {number}"
        place.plot(own, positions[own], color=_part_colour(number), linewidth=4)
        align = "right" if number == 0 else "center"
        place.text(own[-1] - 3 * (number == 0), positions[own[-1]] + 2, name, ha=align)
    place.set(xlabel="place in the row", ylabel="position the model is told")
    place.set_title("Positions begin again after the image", fontsize=11)
    return figure


def lora_matrices(weight: np.ndarray, up: np.ndarray, down: np.ndarray, scale: float) -> Figure:
    """W (n, m), B (n, r) and A (r, m) to scale, and the singular values of W and scale · BA."""
    (rows, columns), rank = weight.shape, len(down)
    alt = (
        f"Left, to scale: the frozen matrix W, {rows} x {columns}, beside it the thin B and A of"
        f" rank {rank}. Right, singular values of W and of {scale:g} · BA, which has only {rank}."
    )
    title = "LoRA: two thin matrices beside a frozen one"
    figure, (shape, values) = canvas(title, alt, (11, 4), 1, 2)
    places = {
        f"W\n{rows} x {columns}\nfrozen": (0, 0, columns, rows, BLUE),
        f"B\n{rows} x {rank}": (1.35 * columns, 0, rank, rows, ORANGE),
        f"A, {rank} x {columns}": (1.4 * columns + rank, rows - rank, columns, rank, ORANGE),
    }
    for name, (x, y, width, height, colour) in places.items():
        shape.add_patch(Rectangle((x, y), width, height, facecolor=colour))
        high = y + height / 2 if colour == BLUE else y - 0.06 * rows
        align = {"ha": "center", "va": "center" if colour == BLUE else "top", "fontsize": 12}
        shape.text(x + width / 2, high, name, color="white" if colour == BLUE else INK, **align)
    shape.text(1.17 * columns, rows / 2, f"+ {scale:g} ·", ha="center", fontsize=15, color=INK)
    shape.set(xlim=(-5, 2.45 * columns + rank), ylim=(-0.3 * rows, 1.05 * rows), aspect="equal")
    shape.axis("off")
    added = f"{scale:g} · BA", scale * up @ down, ORANGE
    for name, matrix, colour in (("W", weight, BLUE), added):
        spectrum = np.linalg.svd(matrix, compute_uv=False)[: 4 * rank]
        values.plot(range(1, len(spectrum) + 1), spectrum, color=colour, linewidth=2.5, label=name)
    values.axvline(rank, color=SOFT, linestyle=":", linewidth=1.5)
    values.text(rank, values.get_ylim()[1], f" rank {rank}", color=SOFT, va="top", fontsize=11)
    values.set(xlabel="singular values, largest first", ylim=(0, None))
    values.legend(frameon=False, fontsize=12)
    return figure


def before_after(scores: Mapping[str, np.ndarray], forged: np.ndarray) -> Figure:
    """How far each face leans to "forged" (log odds, (N,)), for each state of the model."""
    area = {name: roc_auc_score(forged, score) for name, score in scores.items()}
    found = listed(f"AUC {value:.2f} {name} tuning" for name, value in area.items())
    alt = f"Histograms of the leaning towards “forged”, bona fide and forged faces apart: {found}."
    title = "The same held-out faces, before and after tuning"
    figure, axes = canvas(title, alt, (11, 3.6), 1, len(scores), sharey=True)
    for ax, (name, score) in zip(axes, scores.items(), strict=True):
        bins = np.linspace(score.min() - 1e-3, score.max() + 1e-3, 25)
        ax.hist(score[~forged], bins, color=TEAL, alpha=0.75, label="bona fide")
        ax.hist(score[forged], bins, color=ORANGE, alpha=0.6, label="forged")
        ax.axvline(0, color=SOFT, linewidth=1, linestyle=":")
        ax.set_title(f"{name}: AUC {area[name]:.2f}", fontsize=12)
        ax.set_xlabel("log odds of “forged”")
    axes[0].set_ylabel("faces")
    axes[0].legend(frameon=False)
    return figure


def sharing_cost(tokens: Mapping[str, tuple[int, int]]) -> Figure:
    """Tokens of one face with all its QA, apart and on a shared prefix, by model."""
    said = (
        f"{name} {apart:,} apart, {shared:,} shared" for name, (apart, shared) in tokens.items()
    )
    alt = f"Tokens of one face with seven questions: {listed(said)}."
    title = "What one face with seven questions costs"
    figure, axes = canvas(title, alt, (10, 2.7), 1, len(tokens), sharey=True)
    for ax, (name, (apart, shared)) in zip(axes, tokens.items(), strict=True):
        bars = ax.barh(["shared", "apart"], [shared, apart], color=[ORANGE, SOFT], height=0.6)
        ax.bar_label(bars, fmt=" {:,.0f} tokens", fontsize=11)
        ax.set_xlim(0, apart * 1.45)
        ax.set_title(f"{name}: {apart / shared:.1f} times fewer", fontsize=12)
        ax.set_xticks([])
        ax.spines[["bottom"]].set_visible(False)
    return figure


def _box(ax: Axes, place: tuple[float, float, float, float], text: str, colour: str) -> None:
    x, y, width, height = place
    ax.add_patch(FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=1.2", facecolor=colour,
        edgecolor="white", linewidth=1.5,
    ))  # fmt: skip
    ink = INK if colour == PALE else "white"
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=ink, fontsize=11)


def _arrow(ax: Axes, x: float, y: float, end: float, label: str) -> None:
    ax.annotate("", (end, y), (x, y), arrowprops={"arrowstyle": "-|>", "color": SOFT, "lw": 1.8})
    ax.text((x + end) / 2, y + 1.2, label, ha="center", va="bottom", fontsize=9.5, color=SOFT)


def _flow(tokens: Sequence[str]) -> list[tuple[float, int, str]]:
    """Where each token stands, (x, line), when they are set like words in a paragraph."""
    placed, x, line = [], 0.0, 0
    for text in tokens:
        width = max(2, len(text)) + 0.9
        if x + width > LINE:
            x, line = 0.0, line + 1
        placed.append((x, line, text))
        x += width
    return placed


def _token(ax: Axes, x: float, line: float, text: str, colour: str) -> None:
    width = max(2, len(text)) + 0.5
    ax.add_patch(Rectangle((x, line - 0.4), width, 0.8, facecolor=colour, linewidth=0))
    ax.text(x + width / 2, line, text, ha="center", va="center", family="monospace", fontsize=9.5,
            color=INK if colour == PALE else "white")  # fmt: skip


def _part_colour(number: int) -> str:
    return SERIES[0] if number == 0 else SERIES[1 + (number - 1) % (len(SERIES) - 1)]
