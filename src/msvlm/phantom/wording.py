"""write_report(): the ground truth of a synthetic study as a radiologist's report."""

from dataclasses import dataclass

import numpy as np

from msvlm.phantom.chest.truth import Lesion
from msvlm.phantom.phrasebook import FindingPhrases, chest_phrasebook
from msvlm.vocabulary.chest import LOBES
from msvlm.vocabulary.vocabulary import DEGREES, LEFT, RIGHT, Certainty, FindingStatement


@dataclass(frozen=True)
class WrittenReport:
    """The two sections of a report."""

    findings_text: str
    impression_text: str


def write_report(
    generator: np.random.Generator, truth: tuple[FindingStatement, ...], lesions: tuple[Lesion, ...]
) -> WrittenReport:
    """States or denies all 18 findings in the order of the phrasebook; the impression sums up those present."""
    by_name = {statement.name: statement for statement in truth}
    denied: set[str] = set()
    findings, impression = [], []
    for phrases in chest_phrasebook().findings:
        statement = by_name[phrases.name]
        if statement.certainty is Certainty.PRESENT:
            own = [lesion for lesion in lesions if lesion.finding == phrases.name]
            findings += _state(generator, phrases, statement, own)
            impression.append(_fill(generator, _choose(generator, phrases.brief), phrases, statement, own[0].kind))
        elif phrases.name not in denied:
            sentence, names = _deny(generator, phrases, by_name, denied)
            findings.append(sentence)
            denied.update(names)
    if not impression:
        impression.append(_choose(generator, chest_phrasebook().normal_impressions))
    return WrittenReport(" ".join(findings), " ".join(impression))


def describe_location(attributes: frozenset[str]) -> str:
    """Returns the lobes or, without lobes, the sides among the attributes as words, with the preposition."""
    levels = {
        side: [lobe.split()[1] for lobe in LOBES if lobe in attributes and lobe.startswith(side)]
        for side in (RIGHT, LEFT)
    }
    shared = [level for level in levels[RIGHT] if level in levels[LEFT]]
    parts = []
    if shared:
        parts.append(f"both {' and '.join(shared)} lobes")
    for side in (RIGHT, LEFT):
        own = [level for level in levels[side] if level not in shared]
        if own:
            parts.append(f"the {side} {' and '.join(own)} lobe{'s' if len(own) > 1 else ''}")
    if parts:
        return "in " + (parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}")
    sides = [side for side in (RIGHT, LEFT) if side in attributes]
    return "in both lungs" if len(sides) == 2 else f"in the {sides[0]} lung" if sides else ""


def _state(
    generator: np.random.Generator, phrases: FindingPhrases, statement: FindingStatement, lesions: list[Lesion]
) -> list[str]:
    """Returns one sentence for the finding, or one for each of a few nodules."""
    if phrases.several and len(lesions) > 1:
        if len(lesions) > 3 or generator.random() < 0.4:
            return [_several(generator, phrases, statement)]
        own = [
            FindingStatement(lesion.finding, Certainty.PRESENT, lesion.attributes, lesion.size_mm) for lesion in lesions
        ]
        return [_fill(generator, _choose(generator, phrases.present), phrases, one) for one in own]
    return [_fill(generator, _choose(generator, phrases.present), phrases, statement, lesions[0].kind)]


def _several(generator: np.random.Generator, phrases: FindingPhrases, statement: FindingStatement) -> str:
    size = _describe_size(generator, statement.size_mm)
    return _choose(generator, phrases.several).format(where=describe_location(statement.attributes), size=size)


def _fill(
    generator: np.random.Generator, sentence: str, phrases: FindingPhrases, statement: FindingStatement, kind: str = ""
) -> str:
    book = chest_phrasebook()
    degree = next((degree for degree in DEGREES if degree in statement.attributes), None)
    sides = [side for side in (RIGHT, LEFT) if side in statement.attributes]
    is_bilateral = len(sides) == 2
    size = _describe_size(generator, statement.size_mm)
    side = "bilateral" if is_bilateral else "".join(sides)
    if is_bilateral:
        sentence = sentence.replace("There is {a} ", "There are ").replace("{a} {degree}", "{degree}")
        sentence = sentence.replace("effusion is seen", "effusions are seen").replace(
            "effusion layers", "effusions layer"
        )
    sentence = sentence.replace("{a} {size}", f"{_article(size)} {{size}}").replace(
        "{a} {kind}", f"{_article(kind)} {{kind}}"
    )
    if kind.endswith("wires"):
        sentence = (
            sentence.replace("a {kind}", "{kind}")
            .replace("{kind} is ", "{kind} are ")
            .replace("is {kind}", "are {kind}")
        )
    filled = sentence.format(
        degree=_choose(generator, book.adjectives_of(phrases, degree)) if degree is not None else "",
        degree_adverb=_choose(generator, book.adverbs[degree]) if degree is not None else "",
        where=describe_location(statement.attributes),
        side=side,
        size=size,
        kind=kind,
        s="s" if is_bilateral else "",
        a="a",
    )
    return filled[0].upper() + filled[1:]


def _deny(
    generator: np.random.Generator, phrases: FindingPhrases, by_name: dict[str, FindingStatement], denied: set[str]
) -> tuple[str, set[str]]:
    """Returns a sentence that denies a finding, and the names of all findings that it denies."""

    book = chest_phrasebook()

    def can_be_denied(name: str) -> bool:
        return by_name[name].certainty is Certainty.ABSENT and name not in denied

    if phrases.name == "pericardial_effusion" and can_be_denied("pleural_effusion") and generator.random() < 0.6:
        return _choose(generator, book.no_effusions), {"pericardial_effusion", "pleural_effusion"}
    for group in book.denied_together:
        others = [name for name in group if can_be_denied(name) and name != phrases.name]
        if phrases.name in group and others and generator.random() < 0.35:
            count = min(len(others), int(generator.integers(1, 3)))
            names = [phrases.name, *(str(name) for name in generator.choice(others, size=count, replace=False))]
            terms = [_choose(generator, book.phrases_of(name).terms) for name in names]
            return _denial_of(generator, terms), set(names)
    if generator.random() < 0.25:
        return _denial_of(generator, [_choose(generator, phrases.terms)]), {phrases.name}
    return _choose(generator, phrases.absent), {phrases.name}


def _denial_of(generator: np.random.Generator, terms: list[str]) -> str:
    listed = terms[0] if len(terms) == 1 else f"{', '.join(terms[:-1])} or {terms[-1]}"
    book = chest_phrasebook()
    pattern = _choose(generator, book.denials if len(terms) > 1 else book.denials + book.denials_of_one)
    verb = "are" if listed.endswith("s") and not listed.endswith("is") else "is"
    filled = pattern.format_map({"terms": listed, "is": verb})
    return filled[0].upper() + filled[1:]


def _describe_size(generator: np.random.Generator, size_mm: float | None) -> str:
    """Returns whole millimetres, or for some sizes from 10 mm on centimetres with one decimal."""
    if size_mm is None:
        return ""
    rounded = round(size_mm)
    if rounded >= 10 and generator.random() < 0.15:
        return f"{rounded / 10:.1f} cm"
    return f"{rounded} mm"


def _article(word: str) -> str:
    """Returns the article before a number or a word."""
    return "an" if word.startswith(("8", "11", "18", "a", "e", "i", "o")) else "a"


def _choose(generator: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(generator.integers(len(choices)))]
