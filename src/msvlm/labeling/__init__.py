"""Report text -> findings, by rule: which of the 18 are stated, denied or doubted, and where, and how large.

Method: clauses, and cues of negation and doubt with a scope, after NegEx
(Chapman et al., J Biomed Inform 34:301, 2001).
"""

import re
from dataclasses import dataclass

from msvlm.findings import CHEST_FINDINGS, Certainty, FindingStatement, allowed_attributes
from msvlm.labeling.attributes import Placed, degrees_in, places_in, sizes_in
from msvlm.labeling.scope import certainty_of, split_clauses, split_sentences, without_history
from msvlm.labeling.terms import ANY_TERM, TERMS

__all__ = ["label_report", "label_sentence", "split_sentences"]

_REFERS_BACK = re.compile(r"^(?:the\s+)?(?:largest|biggest|it|they|these|this|those|the\s+lesions?|the\s+larger)\b")


@dataclass(frozen=True)
class _Mention:
    finding: str
    certainty: Certainty
    start: int
    end: int
    attributes: frozenset[str] = frozenset()
    size_mm: float | None = None


def label_report(text: str) -> tuple[FindingStatement, ...]:
    """One statement for each of the 18 chest findings, in their order; what the text does not mention is absent."""
    mentions: list[_Mention] = []
    for sentence in split_sentences(text):
        found = _mentions(sentence)
        if not found and mentions and _REFERS_BACK.match(sentence.lower()):
            found = _added_to(mentions[-1], sentence.lower())
        mentions += found
    stated = {statement.name: statement for statement in _merged(mentions)}
    return tuple(stated.get(kind.name, FindingStatement(kind.name, Certainty.ABSENT)) for kind in CHEST_FINDINGS)


def label_sentence(text: str) -> tuple[FindingStatement, ...]:
    """The findings that a sentence mentions, to state, doubt or deny them, in the order of the vocabulary."""
    return _merged(_mentions(text))


def _mentions(sentence: str) -> list[_Mention]:
    mentions: list[_Mention] = []
    before, words = "", " ".join(sentence.lower().split())
    if not ANY_TERM.search(words):  # most sentences of a report; a fifth of the time of trying each term
        return []
    for clause in split_clauses(without_history(words)):
        here, said_before = [], before
        before += f"{clause} "
        for term in TERMS:
            matches = list(term.pattern.finditer(clause))
            if not matches or (term.needs and not term.needs.search(clause)):
                continue
            if term.unless and term.unless.search(clause):
                continue
            for found in matches:
                certainty = term.certainty
                if certainty is Certainty.PRESENT:
                    certainty = certainty_of(clause, found.start(), found.end())
                here.append(_Mention(term.finding, certainty, found.start(), found.end()))
        if not here:
            continue
        here.sort(key=lambda mention: mention.start)
        for sort in (places_in(clause, said_before), degrees_in(clause), sizes_in(clause)):
            here = _with_placed(here, sort, clause)
        mentions += here
    return mentions


def _with_placed(mentions: list[_Mention], placed: tuple[Placed, ...], clause: str) -> list[_Mention]:
    """Gives each mention the words that belong to it; one sort of words at a time."""
    given: dict[int, list[Placed]] = {}
    for words in placed:
        for index in _owners(mentions, placed, words, clause):
            given.setdefault(index, []).append(words)
    return [_and(mention, *given.get(index, [])) for index, mention in enumerate(mentions)]


def _owners(mentions: list[_Mention], placed: tuple[Placed, ...], words: Placed, clause: str) -> list[int]:
    """Which mentions the words belong to: the one they stand in or right before, else those listed before them."""
    for index, mention in enumerate(mentions):
        between = clause[words.end : mention.start]
        if words.start < mention.end and words.end > mention.start:
            return [index]
        if words.end <= mention.start and not re.search(r"[,()]|\band\b", between) and len(between.split()) <= 3:
            return [index]
    before = [index for index, mention in enumerate(mentions) if mention.end <= words.start]
    if not before:
        return list(range(len(mentions)))
    owners = [before[-1]]
    for index in reversed(before[:-1]):
        first = mentions[owners[-1]].start
        if any(mentions[index].end <= other.start < first for other in placed):
            break
        owners.append(index)
    return owners


def _and(mention: _Mention, *placed: Placed) -> _Mention:
    attributes = mention.attributes.union(*(words.attributes for words in placed)) & frozenset(
        allowed_attributes(mention.finding)
    )
    sizes = [words.size_mm for words in placed if words.size_mm is not None]
    size_mm = max(sizes) if sizes else mention.size_mm
    return _Mention(mention.finding, mention.certainty, mention.start, mention.end, attributes, size_mm)


def _added_to(mention: _Mention, sentence: str) -> list[_Mention]:
    """What a sentence that refers back to a mention adds to it."""
    if mention.certainty is Certainty.ABSENT:
        return []
    return [_and(mention, *places_in(sentence), *degrees_in(sentence), *sizes_in(sentence))]


def _merged(mentions: list[_Mention]) -> tuple[FindingStatement, ...]:
    """One statement a finding: present if any mention says so, else uncertain, else absent."""
    statements = []
    for kind in CHEST_FINDINGS:
        own = [mention for mention in mentions if mention.finding == kind.name]
        for certainty in Certainty:
            said = [mention for mention in own if mention.certainty is certainty]
            if said:
                statements.append(_statement(kind.name, certainty, said))
                break
    return tuple(statements)


def _statement(name: str, certainty: Certainty, said: list[_Mention]) -> FindingStatement:
    if certainty is Certainty.ABSENT:
        return FindingStatement(name, certainty)
    sizes = [mention.size_mm for mention in said if mention.size_mm is not None]
    attributes = frozenset[str]().union(*(mention.attributes for mention in said))
    return FindingStatement(name, certainty, attributes, max(sizes) if sizes else None)
