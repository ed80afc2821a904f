"""From text to claims: which region shows which artifact, and what the verdict is.

A lexicon (``lexicon.json``) with word boundaries, and a few rules of grammar: a sentence is
cut into statements, a negated or reassuring statement claims nothing. What cannot be read is
``None``, which the benchmark counts as wrong; nothing is ever guessed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

from dfa_lib.taxonomy import Artifact, Category, Region, Task

Claim = tuple[Region, Artifact | None]
"""A region that the text calls altered; the artifact is None where it does not say how."""

LONGEST = 20_000
"""Characters of a text that are read; a model that rambles on adds nothing."""

_SENTENCE = re.compile(r"(?<=[.!?])(?=\s|$)|[;\n]+")
_TURN = re.compile(r"\b(?:but|while|whereas|although|though|however|yet|except|unlike)\b", re.I)
_PLACE = re.compile(
    r"\b(?:on|in|at|of|around|near|across|along|over|under|to|from|for|within|between|affects?|"
    r"affecting|below|above|beside|by)\s+(?:(?:the|both|this|his|her|its|their|left|right|upper|"
    r"lower|inner|outer|tip|corners?|edges?|of|of the|face's|person's|subject's|inner)\s+)*$",
    re.I,
)
_LIST = re.compile(r"^(?:\s|,|/|&|\band\b|\bor\b|\bthe\b|\bas well as\b|\bboth\b)*$", re.I)
_VERB = re.compile(r"\s+(?:shows?|has|have|is|are|looks?|appears?|seems?|exhibits?)\b", re.I)
_BREAK = re.compile(r",|\band\b", re.I)


class _Mention(NamedTuple):
    """A region or an artifact named in a text, at characters ``start`` to ``end``."""

    start: int
    end: int
    word: Region | Artifact | None

    @property
    def is_region(self) -> bool:
        return isinstance(self.word, Region)


@lru_cache(maxsize=10_000)
def claims(text: str) -> frozenset[Claim]:
    """Every (region, artifact) that ``text`` claims to be wrong; questions claim nothing."""
    found: set[Claim] = set()
    for clause in _clauses(_plain(text)):
        for statement, group in _statements(clause):
            if not _reassures(statement):
                found |= _pairs(group)
    return frozenset(found)


def findings(text: str) -> set[tuple[Region, Artifact]]:
    """The claims of ``text`` that name an artifact: what COVER and CHAIR compare."""
    return {(region, artifact) for region, artifact in claims(text) if artifact is not None}


def regions(text: str) -> set[Region]:
    """The regions that ``text`` calls altered, whether or not it says how."""
    return {region for region, _ in claims(text)}


@lru_cache(maxsize=10_000)
def reading(text: str) -> str | None:
    """A description as it is read: "eyes, nose", or "" if it calls all natural, or None."""
    text = _plain(text)
    altered = regions(text)
    if not altered and (_pattern("undecided").search(text) or not _calms(text)):
        return None
    return ", ".join(region.value for region in Region if region in altered)


@lru_cache(maxsize=10_000)
def verdict(text: str, task: Task, question: str = "") -> str | None:
    """Label that ``text`` settles on for DF-D or DF-C; None if none, several or undecided.

    Other tasks have no verdict, so theirs is None.

    "not real" is forged, "unrealistic" is neither; a bare yes or no is read by the side that
    ``question`` takes. English is read, and nothing else: "nicht real" is no verdict. Labels
    are those of the options: "forged", "bona fide", "FS" …
    """
    text = _plain(text)
    if _pattern("undecided").search(text) or _is_foreign(text):
        return None
    sides = _sides(_without_questions(text)) or _yes_or_no(text, question)
    if task is Task.DF_C:
        return _category(text, sides)
    return sides.pop() if task is Task.DF_D and len(sides) == 1 else None


def _category(text: str, sides: set[str]) -> str | None:
    named = _techniques(text)
    if "bona fide" in sides:
        return None if len(sides) > 1 else Category.BONA_FIDE.value
    return named.pop() if len(named) == 1 else None


def _sides(text: str) -> set[str]:
    """The verdicts stated in ``text``; a negated one states its opposite, an unclear one both."""
    text = _pattern("no verdict").sub(" ", text)
    sides = {"forged"} if _techniques(text) else set()
    for side, opposite in (("bona fide", "forged"), ("forged", "bona fide")):
        for match in _pattern(side).finditer(text):
            denied = _denied(text, match.start())
            sides |= {None: {side, opposite}, True: {opposite}, False: {side}}[denied]
    return sides


def _techniques(text: str) -> set[str]:
    """The forgery categories named in ``text`` and not denied."""
    named = set()
    for label in _lexicon()["categories"]:
        places = _category_pattern(label).finditer(text)
        if any(not _denied(text, match.start()) for match in places):
            named.add(label)
    return named


def _yes_or_no(text: str, question: str) -> set[str]:
    answer = re.match(r"\W*(yes|no)\b", text, re.I)
    asked = _sides(question)
    if not answer or len(asked) != 1:
        return set()
    other = {"bona fide", "forged"} - asked
    return asked if answer[1].lower() == "yes" else other


def _denied(text: str, start: int) -> bool | None:
    """Whether a negator in the same clause governs the word at ``start``; None if unclear.

    It does from at most four words away ("not a very real face") and across a "that" ("no
    sign that the face was ever real"); from further off it may belong to something else.
    """
    clause = re.split(
        r"[.,;:!?\n]|(?<!anything )\bbut\b|\band\b", text[max(0, start - 120) : start]
    )[-1]
    clause = _pattern("not negating").sub(" ", _pattern("forged").sub(" ", clause))
    clause = re.sub(r"\bn?or\b", " ", clause)  # "neither fake nor altered" denies both
    found = [*_denial().finditer(clause)]
    near = [one for one in found if len(clause[one.end() :].split()) < 4]
    if found and not near and not re.search(r"\bthat\b", clause[found[-1].end() :]):
        return None
    return len(near or found[-1:]) % 2 == 1


def _plain(text: str) -> str:
    """As much of a text as is read, with the apostrophe that the lexicon writes."""
    return text[:LONGEST].replace("\u2019", "'")


def _is_foreign(text: str) -> bool:
    """True for a text in another language, whose negators the lexicon does not know."""
    letters = (one.isalpha() and not one.isascii() for one in text)
    return any(letters) or _pattern("foreign").search(text) is not None


def _without_questions(text: str) -> str:
    return " ".join(part for part in _SENTENCE.split(text) if not part.strip().endswith("?"))


def _clauses(text: str) -> Iterator[str]:
    for sentence in _SENTENCE.split(text):
        if sentence and not sentence.strip().endswith("?"):
            yield from _TURN.split(sentence)


def _statements(clause: str) -> Iterator[tuple[str, list[_Mention]]]:
    """Cut a clause into statements, each with the mentions it joins.

    A region that is the subject of something new ("…, and the mouth shows") opens a
    statement, and so does an artifact after its place was given ("blur on the nose and …").
    """
    mentions = _mentions(clause)
    starts = [0]
    for index in range(1, len(mentions)):
        if _opens(clause, mentions, starts[-1], index):
            starts.append(index)
    cuts = [0, *(_cut(clause, mentions[at - 1].end, mentions[at].start) for at in starts[1:])]
    for start, stop, cut, end in zip(
        starts, [*starts[1:], len(mentions)], cuts, [*cuts[1:], len(clause)], strict=True
    ):
        yield clause[cut:end], mentions[start:stop]


def _opens(clause: str, mentions: Sequence[_Mention], start: int, index: int) -> bool:
    """True if mention ``index`` opens a statement of its own after those from ``start``."""
    group, last, new = mentions[start:index], mentions[index - 1], mentions[index]
    if not new.is_region:
        return last.is_region and not group[0].is_region
    between = clause[last.end : new.start]
    if all(mention.is_region for mention in group) or between.strip() in {"", "the"}:
        return False
    if last.is_region and _LIST.match(between):
        more = any(not mention.is_region for mention in mentions[index:])
        return more and _VERB.match(clause, new.end) is not None
    return _PLACE.search(between) is None


def _cut(clause: str, start: int, end: int) -> int:
    """Where the new statement begins: the last comma or "and" before it."""
    breaks = [match.start() for match in _BREAK.finditer(clause, start, end)]
    return breaks[-1] if breaks else start


def _reassures(statement: str) -> bool:
    """True for "no blur …" and "… looks natural", but not for "does not look natural"."""
    rest = _vocabulary()[0].sub(" ", statement)  # "not aligned" is a claim
    rest = _pattern("not negating").sub(" ", _unnatural().sub(" ", rest))
    return bool(_pattern("negators").search(rest) or _pattern("natural").search(rest))


def _calms(text: str) -> bool:
    """True if something is called natural, or an artifact or a region is denied."""
    return any(
        _reassures(part) and (group or _pattern("natural").search(part))
        for clause in _clauses(text)
        for part, group in _statements(clause)
    )


def _pairs(group: Iterable[_Mention]) -> set[Claim]:
    group = list(group)
    where = [mention.word for mention in group if mention.is_region]
    named = {mention.word for mention in group if not mention.is_region}
    what = named - {None} or named
    return {(region, artifact) for region in where for artifact in what}


def _mentions(clause: str) -> list[_Mention]:
    """Regions, artifacts and unnamed anomalies in order; the longer of two terms at a place."""
    pattern, words = _vocabulary()
    return [
        _Mention(match.start(), match.end(), words[match.lastindex - 1])
        for match in pattern.finditer(clause)
        if match.lastindex
    ]


@cache
def _vocabulary() -> tuple[re.Pattern[str], list[Region | Artifact | None]]:
    """One pattern with a group per term, longest first, and what each term stands for."""
    lexicon = _lexicon()
    terms: list[tuple[str, Region | Artifact | None]] = []
    terms += [(term, None) for term in lexicon["anomalies"]]
    for kind, group in ((Region, lexicon["regions"]), (Artifact, lexicon["artifacts"])):
        terms += [(term, kind(name)) for name, listed in group.items() for term in listed]
    terms.sort(key=lambda pair: -len(pair[0]))
    groups = "|".join(f"({_term(term)})" for term, _ in terms)
    return re.compile(rf"(?<!\w)(?:{groups})(?!\w)", re.I), [word for _, word in terms]


@cache
def _pattern(group: str) -> re.Pattern[str]:
    return _compile(_lexicon()[group])


@cache
def _denial() -> re.Pattern[str]:
    """What turns a verdict round; a description knows fewer of these words."""
    return _compile([*_lexicon()["negators"], *_lexicon()["denials"]])


@cache
def _unnatural() -> re.Pattern[str]:
    """A negator at most two words before a word of reassurance."""
    negator, natural = _pattern("negators").pattern, _pattern("natural").pattern
    return re.compile(rf"{negator}(?:\s+\w+){{0,2}}\s+{natural}", re.I)


@cache
def _category_pattern(label: str) -> re.Pattern[str]:
    words = _compile(_lexicon()["categories"][label]).pattern
    return re.compile(rf"{words}|(?-i:\b{label}\b)", re.I)


def _compile(terms: Iterable[str]) -> re.Pattern[str]:
    """One pattern for whole terms; "n't" is the one that is glued to a word."""
    parts = map(_term, sorted(terms, key=len, reverse=True))
    return re.compile(rf"(?:(?<!\w)|(?=n't))(?:{'|'.join(parts)})(?!\w)", re.I)


def _term(term: str) -> str:
    """``*`` stands for the rest of a word, and blanks may be hyphens."""
    return re.escape(term).replace(r"\*", r"\w*").replace(r"\ ", r"[\s-]+")


@cache
def _lexicon() -> dict:
    return json.loads((files("dfa_lib") / "lexicon.json").read_text("utf-8"))
