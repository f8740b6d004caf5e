"""Finds the locations, degrees and sizes that a clause states."""

import re
from dataclasses import dataclass

from msvlm.vocabulary.vocabulary import LEFT, RIGHT


@dataclass(frozen=True)
class Qualifier:
    """Words in a clause that qualify a finding by attributes or by a size.

    Attributes:
        start, end: their position in the clause.
        attributes: of `Vocabulary.attributes`.
        size_mm: the largest of the numbers stated together.
    """

    start: int
    end: int
    attributes: frozenset[str] = frozenset()
    size_mm: float | None = None


_SIDE = r"right|left|both|bilateral(?:ly)?"
_LEVEL = r"upper|middle|lower"
_LOBE = re.compile(
    rf"""
    (?:\b(?P<before>{_SIDE})\s+(?:lungs?\s+|,\s*)?)?
    \b(?P<levels>(?:{_LEVEL})(?:(?:\s+lobes?)?(?:\s*,\s*|\s+and\s+|\s+or\s+|\s*/\s*|\s*-\s*)(?:{_LEVEL}))*)
    \s+(?:lung\s+)?(?:lobes?|lobar|zones?)\b
    (?:\s+(?:\w+\s+){{0,2}}?(?:of|in|on)\s+(?:the\s+)?(?P<after>{_SIDE})\b(?:\s+(?:lungs?|sides?))?)?
    |\b(?P<short>[rl](?:ul|ml|ll))\b
    |\b(?P<lingula>lingul\w*)
    """,
    re.VERBOSE,
)
_SEGMENT = re.compile(
    rf"""
    (?:\b(?P<before>{_SIDE})\s+(?:lungs?\s+)?)?
    \b(?P<segment>apicoposterior|apex(?:es)?|apices|bases?(?!\s+of)|basilar|(?:(?:antero|postero|latero|medio)+-?)?basal(?=\s+segment))\b
    (?:\s+segments?\b)?+(?!\s+(?:of|in)\s+(?:the\s+)?(?:(?:{_SIDE})\s+)?(?:lungs?\s+)?(?:{_LEVEL})\b)
    (?:\s+(?:of|in|on)\s+(?:the\s+)?(?P<after>{_SIDE})\b(?:\s+(?:lungs?|sides?))?)?
    """,
    re.VERBOSE,
)
"""Segments that lie in one lobe only, unless the text names their lobe after them."""
_SIDE_WORD = re.compile(
    r"\b(?P<both>both\s+(?:lungs?|sides?|hemithora\w+|upper|lower|pleura\w*)|bilateral(?:ly)?|each\s+side)\b|\b(?P<side>right|left)(?:-sided)?\b"
    r"(?!\s+(?:atri\w+|ventric\w+|subclavian|jugular|main\s+coronary|coronary|heart|anterior\s+descending|circumflex))"
)
_DEGREE = re.compile(
    r"\b(?:(?P<mild>mild(?:ly)?|minimal(?:ly)?|slight(?:ly)?|small|trace|minor|discrete|subtle)"
    r"|(?P<moderate>moderate(?:ly)?|medium)"
    r"|(?P<severe>severe(?:ly)?|marked(?:ly)?|massive(?:ly)?|extensive|(?<!is\s)(?<!borderline\s)large|pronounced|heavy|heavily|advanced|gross(?:ly)?))\b"
)
_SIZE = re.compile(
    r"(?P<numbers>\d+(?:[.,]\d+)?(?:\s*(?:x|×|by|-|to|and)\s*\d+(?:[.,]\d+)?)*)\s*-?\s*(?P<unit>mm|millimet\w+|cm|centimet\w+)\b"
    r"(?!\s+(?:in|on)\s+(?:the\s+)?(?:previous|prior|old|earlier)\b)"
)


def find_locations(clause: str, before: str = "") -> tuple[Qualifier, ...]:
    """Returns the sides and lobes that a lower-case clause names, in order; a lobe implies its side.

    "The lower lobes" are those of both sides. A lobe or segment without a side takes the last side named before it in
    the sentence; `before` is the text of the sentence before the clause.
    """
    found: list[Qualifier] = []
    for lobe in _LOBE.finditer(clause):
        found.append(Qualifier(lobe.start(), lobe.end(), _lobes(lobe, before + clause[: lobe.start()])))
    taken = [(location.start, location.end) for location in found]
    for segment in _SEGMENT.finditer(clause):
        lobes = _lobes_of_segment(segment, before + clause[: segment.start()])
        if lobes and not any(start < segment.end() and segment.start() < end for start, end in taken):
            found.append(Qualifier(segment.start(), segment.end(), lobes))
    taken = [(location.start, location.end) for location in found]
    for side in _SIDE_WORD.finditer(clause):
        if not any(start <= side.start() < end for start, end in taken):
            sides = frozenset({RIGHT, LEFT}) if side["both"] else frozenset({side["side"]})
            found.append(Qualifier(side.start(), side.end(), sides))
    return tuple(sorted(found, key=lambda location: location.start))


def find_degrees(clause: str) -> tuple[Qualifier, ...]:
    """Returns the degrees that a lower-case clause names, in order."""
    return tuple(
        Qualifier(found.start(), found.end(), frozenset({str(found.lastgroup)})) for found in _DEGREE.finditer(clause)
    )


def find_sizes(clause: str) -> tuple[Qualifier, ...]:
    """Returns the sizes that a lower-case clause states, in order, in mm."""
    sizes = []
    for found in _SIZE.finditer(clause):
        numbers = [float(number.replace(",", ".")) for number in re.findall(r"\d+(?:[.,]\d+)?", found["numbers"])]
        scale = 10.0 if found["unit"].startswith("c") else 1.0
        sizes.append(Qualifier(found.start(), found.end(), size_mm=max(numbers) * scale))
    return tuple(sizes)


def _lobes(lobe: re.Match[str], before: str) -> frozenset[str]:
    if lobe["lingula"]:
        return frozenset({LEFT, "left upper lobe"})
    if lobe["short"]:
        side = RIGHT if lobe["short"][0] == "r" else LEFT
        return _with_sides({side}, {{"u": "upper", "m": "middle", "l": "lower"}[lobe["short"][1]]})
    levels = set(re.findall(_LEVEL, lobe["levels"]))
    word = lobe["before"] or lobe["after"]
    if word is None and len(levels) == 1 and re.search(r"lobes|zones", lobe[0]):
        return _with_sides({RIGHT, LEFT}, levels)
    only_side = {RIGHT} if levels == {"middle"} else set[str]()
    return _with_sides(_sides(word, before) or only_side, levels)


def _lobes_of_segment(segment: re.Match[str], before: str) -> frozenset[str]:
    only_side = {LEFT} if segment["segment"] == "apicoposterior" else set[str]()
    sides = _sides(segment["before"] or segment["after"], before) or only_side
    return _with_sides(sides, {"upper" if segment["segment"].startswith("ap") else "lower"})


def _sides(word: str | None, before: str) -> set[str]:
    """Returns the sides that a word names; without a word, those of the last such word in `before`."""
    if word is None:
        earlier = re.findall(rf"\b(?:{_SIDE})\b", before)
        word = earlier[-1] if earlier else None
    if word is None:
        return set()
    return {RIGHT, LEFT} if word.startswith("b") else {word}


def _with_sides(sides: set[str], levels: set[str]) -> frozenset[str]:
    """Returns the lobes at these levels on these sides, and the sides; the left lung has no middle lobe."""
    lobes = {f"{side} {level} lobe" for side in sides for level in levels if (side, level) != (LEFT, "middle")}
    return frozenset(lobes | sides)
