"""Figures of lesson 03: scores with their intervals, and where they come from."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from scipy.special import softmax

from dfa_lib import look
from dfa_lib.bench.perturb import LEVELS, perturb
from dfa_lib.face.geometry import Image
from dfa_lib.intervals import Triple


def option_scores(labels: Sequence[str], logprobs: np.ndarray) -> Figure:
    """Probability of each option, one dot per wording and a bar for their mean.

    ``logprobs``: (wordings, options).
    """
    share = softmax(logprobs, axis=1)
    means = (f"{name} {p:.2f}" for name, p in zip(labels, share.mean(axis=0), strict=True))
    alt = f"Mean probability of each answer over {len(share)} wordings: {look.listed(means)}."
    size = 8.5, 0.55 * len(labels) + 1.6
    figure, (ax,) = look.canvas("One face, one question in several wordings", alt, size)
    look.bars(ax, dict(zip(labels, share.T, strict=True)), share.mean(axis=0))
    ax.set(xlim=(-0.02, 1.02), xlabel="probability among the allowed answers")
    return figure


def forest(data: Mapping, task: str, metric: str, chance: float) -> Figure:
    """One score of every analyst with its 95 % interval; ``data`` is report.json."""
    found = {name: scores[task] for name, scores in data["analysts"].items()}
    rows = {name: one[metric] for name, one in found.items() if metric in one}
    colours = [look.TRAINED, *[look.INK] * len(rows)][: len(rows)]
    figure = _scores("Every analyst, with 95 % intervals", f"{task} {metric}", rows, colours)
    (ax,) = figure.axes
    for place, (colour, (value, *_)) in enumerate(zip(colours, rows.values(), strict=True)):
        look.write(ax, value, place - 0.3, f"{value:.2f}", color=colour, ha="center")
    ax.axvline(chance, color=look.SOFT, linestyle="--", linewidth=1.5, zorder=0)
    look.write(ax, chance, -0.6, " chance", color=look.SOFT)
    return figure


def resampling(draws: Mapping[str, np.ndarray], value: float, metric: str) -> Figure:
    """A score on many resampled test sets, by what was drawn: its spread and 95 % of it."""
    ends = {name: np.nanquantile(values, [0.025, 0.975]) for name, values in draws.items()}
    said = {name: f"{name}: {low:.3f} to {high:.3f}" for name, (low, high) in ends.items()}
    title = f"{metric} on resampled test sets"
    alt = f"{title}, histograms by what was drawn. 95 % lie in: {look.listed(said.values())}."
    figure, (ax,) = look.canvas(title, alt, (9, 3.8))
    every = np.concatenate(list(draws.values()))
    bins = np.linspace(np.nanmin(every), np.nanmax(every) + 1e-9, 40)
    for depth, (name, values) in enumerate(draws.items(), 1):
        colour = look.SERIES[depth - 1]
        ax.hist(values, bins, color=colour, alpha=0.5, label=said[name])
        place = -0.006 * len(values) * depth
        ax.hlines(place, *ends[name], color=colour, linewidth=5)
    ax.axvline(value, color=look.INK, linewidth=1.5)
    ax.set(xlabel=metric, yticks=[], ylabel="resamples")
    ax.legend(frameon=False, fontsize=look.TEXT)
    return figure


def roc_curves(data: Mapping, names: Sequence[str]) -> Figure:
    """ROC curves of DF-D, whole and at their left edge; ``data`` is report.json."""
    areas = {name: data["analysts"][name]["DF-D"]["AUC"][0] for name in names}
    said = (f"{name} {area:.2f}" for name, area in areas.items())
    title = "ROC: hits against false alarms, and its left edge"
    alt = f"{title}. Area under each: {look.listed(said)}."
    figure, (ax, edge) = look.canvas(title, alt, (9, 5), 1, 2)
    ax.plot([0, 1], [0, 1], color=look.SOFT, linestyle=":", linewidth=1.2)
    for colour, (name, area) in zip(look.SERIES, areas.items(), strict=False):
        points = np.array(data["details"][name]["DF-D"]["roc"])
        style = {"color": colour, "linewidth": 3.5 if colour == look.TRAINED else 2}
        ax.plot(*points.T, **style, label=f"{name}, {area:.2f}")
        edge.plot(*points.T, **style)
    edge.axvline(0.01, color=look.SOFT, linestyle="--", linewidth=1.2)
    ax.set(xlabel="bona fide faces called forged", ylabel="forged faces found")
    edge.set(xlabel="at most one in twenty", xlim=(-0.001, 0.05), xticks=[0, 0.01, 0.05])
    ax.legend(frameon=False, fontsize=look.TEXT, loc="lower right", title="AUC")
    return figure


def reliability_diagram(data: Mapping, names: Sequence[str]) -> Figure:
    """Share of forged faces by P(forged) of DF-D, larger dots for more faces.

    ``data`` is report.json, whose probabilities have their temperature.
    """
    errors = {name: data["analysts"][name]["DF-D"]["ECE"][0] for name in names}
    said = look.listed(f"{name} {error:.3f}" for name, error in errors.items())
    title = "Is P(forged) the share that is forged?"
    alt = f"{title} Reliability diagram in ten bins. Calibration error (ECE): {said}."
    figure, (ax,) = look.canvas(title, alt, (7, 5.2))
    ax.plot([0, 1], [0, 1], color=look.SOFT, linestyle=":", linewidth=1.2)
    for colour, (name, error) in zip(look.SERIES, errors.items(), strict=False):
        mean, share, count = np.transpose(data["details"][name]["DF-D"]["reliability"])
        ax.plot(mean, share, color=colour, linewidth=2, label=f"{name}, ECE {error:.3f}")
        ax.scatter(mean, share, 20 + 800 * count / count.sum(), color=colour, alpha=0.5)
    ax.set(xlabel="P(forged), as the analyst says", ylabel="share that is forged")
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.05, 1.05))
    ax.legend(frameon=False, fontsize=look.TEXT, loc="lower right")
    return figure


def confusion(data: Mapping, name: str) -> Figure:
    """DF-C: what was (rows) against what was said (columns), shares of each row."""
    detail = data["details"][name]["DF-C"]
    counts = np.array(detail["confusion"])
    labels = [*detail["labels"], "unread"]
    if not counts[:, -1].any():
        counts = counts[:, :-1]
        labels = detail["labels"]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = (f"{label} {part:.0%}" for label, part in zip(labels, share.diagonal(), strict=False))
    alt = f"Confusion matrix of DF-C. Share called what it is: {look.listed(right)}."
    figure, (ax,) = look.canvas(f"DF-C: what {name} takes for what", alt, (7, 5.4))
    ax.imshow(share, cmap="Greys", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if share[row, column] > 0.6 else look.INK
        look.write(ax, column, row, count or "·", ha="center", color=ink)
    ax.set(xticks=range(len(labels)), xticklabels=labels, xlabel="said", ylabel="true")
    ax.set(yticks=range(len(counts)), yticklabels=detail["labels"])
    look.tint([*ax.get_xticklabels(), *ax.get_yticklabels()])
    ax.spines[:].set_visible(False)
    return figure


def method_scores(data: Mapping, name: str) -> Figure:
    """DF-D AUC of each forgery method against all bona fide faces, with 95 % intervals."""
    rows = data["details"][name]["DF-D"]["per_method"]
    colours = [look.colour_of(row) for row in rows]
    figure = _scores(f"{name}, method by method", "DF-D AUC", rows, colours)
    figure.axes[0].set_xlim(None, 1.01)
    return figure


def described_regions(data: Mapping, name: str) -> Figure:
    """AD region F1 by category, beside the best answer that does not look."""
    mine = data["details"][name]["AD"]["per_category"]
    constant = {kind: data["constant"]["per_category"][kind] for kind in mine}
    title = "Naming what was altered"
    figure, (ax,) = look.canvas(title, f"{title}, by category.", (9, 0.6 * len(mine) + 1.5))
    series = {name: mine, "best constant answer": constant}
    look.intervals(ax, "region F1", series, (look.TRAINED, look.FROZEN))
    look.tint(ax.get_yticklabels())
    ax.set_xlim(0, 1.02)
    ax.legend(frameon=False, fontsize=look.TEXT)
    return figure


def level_scores(
    scores: Mapping[str, Mapping[str, Triple]], pictures: Mapping[str, Image]
) -> Figure:
    """DF-D AUC with its 95 % interval of each analyst at each level, beside one of its pictures.

    ``scores`` as ``sweep`` gives them; ``pictures`` (H, W, 3) uint8 by level.
    """
    title = "From faces like those of training to another world"
    size = (9, 0.95 * len(pictures) + 1.6)
    figure, cells = look.canvas(title, f"{title}.", size, len(pictures), 2, width_ratios=(1, 8))
    for left, right, picture in zip(cells[::2], cells[1::2], pictures.values(), strict=True):
        look.show(left, picture)
        right.remove()
    ax = figure.add_subplot(cells[0].get_gridspec()[:, 1])
    look.plain(ax)
    series = {name: {level: one[level] for level in pictures} for name, one in scores.items()}
    look.intervals(ax, "DF-D AUC", series)
    ax.axvline(0.5, color=look.SOFT, linestyle="--", linewidth=1.2)
    ax.set(xlim=(None, 1.01), ylim=(len(pictures) - 0.5, -0.5))
    figure.legend(frameon=False, fontsize=look.TEXT, loc="outside lower right", ncols=4)
    return figure


def robustness_curves(data: Mapping, picture: Image) -> Figure:
    """DF-D AUC by perturbation and severity with 95 % intervals, above it one face spoilt so.

    ``data`` is report.json of a run with ``robustness``; ``picture`` (H, W, 3) is shown at the
    third of five severities.
    """
    details = {name: one["DF-D"] for name, one in data["details"].items()}
    curves = {
        name: {kind: np.array(rows, float) for kind, rows in one["robustness"]["curves"].items()}
        for name, one in details.items()
        if "robustness" in one
    }
    said = (
        f"{name} under {kind} "
        + (f"from {begin:.2f} to {end:.2f}" if np.isfinite(begin + end) else "unknown")
        for name, kinds in curves.items()
        for kind, ((begin, *_), *_, (end, *_)) in kinds.items()
    )
    title = "The same faces, degraded step by step (pictures: severity 3)"
    alt = f"{title}: DF-D AUC by severity from 0 to 5. {look.listed(said, 20)}."
    grid = {"height_ratios": (1, 1.5), "sharey": "row"}
    figure, cells = look.canvas(title, alt, (9, 5), 2, len(LEVELS), **grid)
    for top, below, kind in zip(cells, cells[len(LEVELS) :], LEVELS, strict=False):
        look.show(top, perturb(picture, kind, 3))
        top.set_title(kind)
        for colour, (name, kinds) in zip(look.SERIES, curves.items(), strict=False):
            value, low, high = kinds[kind].T
            steps = np.arange(len(value))
            below.plot(steps, value, color=colour, linewidth=2.5, label=name)
            below.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        below.axhline(0.5, color=look.SOFT, linestyle="--", linewidth=1.2)
        below.set(xlabel="severity", xticks=range(6), ylim=(0.1, 1.02))
    cells[len(LEVELS)].set_ylabel("DF-D AUC")
    cells[len(LEVELS)].legend(frameon=False, fontsize=look.TEXT, loc="lower left")
    return figure


def coverage_curve(selective: Mapping) -> Figure:
    """Share of wrong answers among the surest faces, by the share of all faces judged.

    ``selective`` is what ``coverage.risk_coverage`` returned.
    """
    share, risk = np.transpose(selective["curve"])
    error = selective["scores"]["AURC random"][0]
    title = "The surest first: risk by coverage"
    alt = (
        f"{title}. {risk[len(risk) // 2]:.3f} of the answers are wrong when the surer half of the"
        f" faces in scope is judged, {error:.3f} when all of them are."
    )
    figure, (ax,) = look.canvas(title, alt, (8.5, 3.8))
    ax.plot(share, risk, color=look.TRAINED, linewidth=2.5, label="silent where it is less sure")
    ax.axhline(error, color=look.SOFT, linestyle="--", linewidth=1.2, label="silent at random")
    ax.axvspan(share[-1], 1, color=look.GREY, alpha=0.4, linewidth=0, label="outside its scope")
    ax.set(xlim=(0, 1), ylim=(0, None), xlabel="share of faces judged", ylabel="share wrong")
    ax.legend(frameon=False, fontsize=look.TEXT, loc="center left")
    return figure


def subgroup_scores(data: Mapping, name: str) -> Figure:
    """DF-D AUC by what people consented to have told of them; ``data`` is report.json."""
    kinds = data["details"][name]["DF-D"]["subgroups"]
    series = dict(zip(kinds, cycle(look.SERIES), strict=False))
    rows, colours = {}, []
    for kind, found in kinds.items():
        for group, triple in found["AUC"].items():
            rows[f"{kind}: {group} ({found['people'][group]} people)"] = triple
            colours.append(series[kind])
    apart = (look.spelled(kind, found["gap"]) for kind, found in kinds.items())
    gaps = f"Gap from best to worst: {look.listed(apart)}"
    figure = _scores(f"{name}, for whom", "DF-D AUC", rows, colours)
    figure.set_label(f"{figure.get_label()} {gaps}.")
    (ax,) = figure.axes
    ax.set_title(gaps, fontsize=look.TEXT, color=look.SOFT)
    ax.axvline(data["analysts"][name]["DF-D"]["AUC"][0], color=look.INK, linewidth=1.2)
    ax.set_xlim(None, 1.01)
    return figure


def _scores(title: str, metric: str, rows: Mapping[str, Triple], colours: Sequence[str]) -> Figure:
    """Scores with their intervals, one below the other, each in its colour."""
    figure, (ax,) = look.canvas(title, f"{title}.", (9, 0.42 * len(rows) + 1.8))
    look.intervals(ax, metric, {title: rows}, [colours])
    return figure


def answer_delay(first: Sequence[float], later: Sequence[float]) -> Figure:
    """Milliseconds to the first token of an answer: first question and later ones."""
    medians = np.median(first), np.median(later)
    alt = (
        f"Median milliseconds to the first token: {medians[0]:.0f} for the first question,"
        f" {medians[1]:.0f} for the second."
    )
    figure, (ax,) = look.canvas("Waiting for the first token", alt, (8.5, 3))
    look.bars(ax, {"first question": first, "second question": later}, medians)
    ax.set(xlim=(0, None), xlabel="milliseconds")
    return figure
