"""Report text -> findings, by rule: which are present, absent or uncertain, and their location and size.

Method: clauses, and cues of negation and uncertainty with a scope, after NegEx
(Chapman et al., J Biomed Inform 34:301, 2001).
"""

import re
from dataclasses import dataclass

from msvlm.errors import ConfigError
from msvlm.labeling import chest_terms
from msvlm.labeling.attributes import Qualifier, find_degrees, find_locations, find_sizes
from msvlm.labeling.scope import certainty_of, split_clauses, split_sentences, without_history
from msvlm.labeling.terms import Terms
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements, Vocabulary

_TERMS: dict[str, Terms] = {CHEST.name: chest_terms.TERMS}
_REFERS_TO_PREVIOUS = re.compile(
    r"^(?:the\s+)?(?:largest|biggest|it|they|these|this|those|the\s+lesions?|the\s+larger)\b"
)


@dataclass(frozen=True)
class _Mention:
    """A term of a finding at `start` to `end` of a clause."""

    finding: str
    certainty: Certainty
    start: int
    end: int
    attributes: frozenset[str] = frozenset()
    size_mm: float | None = None


def label_report(text: str, vocabulary: Vocabulary) -> Statements:
    """Returns one statement for each finding of the vocabulary, in its order; findings not mentioned are absent.

    Raises:
        ConfigError: there are no rules for this vocabulary.
    """
    mentions: list[_Mention] = []
    for sentence in split_sentences(text):
        found = _find_mentions(sentence, vocabulary)
        if not found and mentions and _REFERS_TO_PREVIOUS.match(sentence.lower()):
            found = _follow_up(mentions[-1], sentence.lower(), vocabulary)
        mentions += found
    stated = {statement.name: statement for statement in _merge(mentions, vocabulary)}
    return tuple(stated.get(name, FindingStatement(name, Certainty.ABSENT)) for name in vocabulary.names)


def label_sentence(text: str, vocabulary: Vocabulary) -> Statements:
    """Returns the findings that a sentence mentions as present, uncertain or absent, in the order of the vocabulary.

    Raises:
        ConfigError: there are no rules for this vocabulary.
    """
    return _merge(_find_mentions(text, vocabulary), vocabulary)


def _find_mentions(sentence: str, vocabulary: Vocabulary) -> list[_Mention]:
    if vocabulary.name not in _TERMS:
        raise ConfigError(f"no rules read reports in vocabulary {vocabulary.name}; supported: {', '.join(_TERMS)}")
    terms = _TERMS[vocabulary.name]
    mentions: list[_Mention] = []
    before, words = "", " ".join(sentence.lower().split())
    if not terms.any_term.search(words):  # true of most sentences, and five times faster than trying each term
        return []
    for clause in split_clauses(without_history(words)):
        in_clause, text_before = [], before
        before += f"{clause} "
        for term in terms.terms:
            matches = list(term.pattern.finditer(clause))
            if not matches or (term.needs and not term.needs.search(clause)):
                continue
            if term.unless and term.unless.search(clause):
                continue
            for found in matches:
                certainty = term.certainty
                if certainty is Certainty.PRESENT:
                    certainty = certainty_of(clause, found.start(), found.end())
                in_clause.append(_Mention(term.finding, certainty, found.start(), found.end()))
        if not in_clause:
            continue
        in_clause.sort(key=lambda mention: mention.start)
        for qualifiers in (find_locations(clause, text_before), find_degrees(clause), find_sizes(clause)):
            in_clause = _assign_qualifiers(in_clause, qualifiers, clause, vocabulary)
        mentions += in_clause
    return mentions


def _assign_qualifiers(
    mentions: list[_Mention], qualifiers: tuple[Qualifier, ...], clause: str, vocabulary: Vocabulary
) -> list[_Mention]:
    """Returns the mentions with the qualifiers, all of one type, that belong to each."""
    assigned: dict[int, list[Qualifier]] = {}
    for qualifier in qualifiers:
        for index in _owners(mentions, qualifiers, qualifier, clause):
            assigned.setdefault(index, []).append(qualifier)
    return [_qualified(mention, vocabulary, *assigned.get(index, [])) for index, mention in enumerate(mentions)]


def _owners(
    mentions: list[_Mention], qualifiers: tuple[Qualifier, ...], qualifier: Qualifier, clause: str
) -> list[int]:
    """Returns the indices of the mentions that a qualifier belongs to.

    These are the mention that overlaps it or follows it directly, else those listed before it.
    """
    for index, mention in enumerate(mentions):
        between = clause[qualifier.end : mention.start]
        if qualifier.start < mention.end and qualifier.end > mention.start:
            return [index]
        if qualifier.end <= mention.start and not re.search(r"[,()]|\band\b", between) and len(between.split()) <= 3:
            return [index]
    before = [index for index, mention in enumerate(mentions) if mention.end <= qualifier.start]
    if not before:
        return list(range(len(mentions)))
    owners = [before[-1]]
    for index in reversed(before[:-1]):
        first = mentions[owners[-1]].start
        if any(mentions[index].end <= other.start < first for other in qualifiers):
            break
        owners.append(index)
    return owners


def _qualified(mention: _Mention, vocabulary: Vocabulary, *qualifiers: Qualifier) -> _Mention:
    attributes = mention.attributes.union(*(qualifier.attributes for qualifier in qualifiers)) & frozenset(
        vocabulary.kind(mention.finding).attributes
    )
    sizes = [qualifier.size_mm for qualifier in qualifiers if qualifier.size_mm is not None]
    size_mm = max(sizes) if sizes else mention.size_mm
    return _Mention(mention.finding, mention.certainty, mention.start, mention.end, attributes, size_mm)


def _follow_up(previous: _Mention, sentence: str, vocabulary: Vocabulary) -> list[_Mention]:
    """Returns what a sentence that refers to the previous mention adds to it."""
    if previous.certainty is Certainty.ABSENT:
        return []
    return [_qualified(previous, vocabulary, *find_locations(sentence), *find_degrees(sentence), *find_sizes(sentence))]


def _merge(mentions: list[_Mention], vocabulary: Vocabulary) -> Statements:
    """Returns one statement for each finding: present if any mention is, else uncertain, else absent."""
    statements = []
    for kind in vocabulary.findings:
        own = [mention for mention in mentions if mention.finding == kind.name]
        for certainty in Certainty:
            matching = [mention for mention in own if mention.certainty is certainty]
            if matching:
                statements.append(_merge_finding(kind.name, certainty, matching))
                break
    return tuple(statements)


def _merge_finding(name: str, certainty: Certainty, mentions: list[_Mention]) -> FindingStatement:
    if certainty is Certainty.ABSENT:
        return FindingStatement(name, certainty)
    sizes = [mention.size_mm for mention in mentions if mention.size_mm is not None]
    attributes = frozenset[str]().union(*(mention.attributes for mention in mentions))
    return FindingStatement(name, certainty, attributes, max(sizes) if sizes else None)
