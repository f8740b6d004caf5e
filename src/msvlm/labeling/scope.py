"""Splits reports into sentences and clauses, and decides whether a term is present, uncertain or absent in a clause."""

import re

from msvlm.vocabulary.vocabulary import Certainty

_SENTENCE_END = re.compile(
    r"""
    (?<=[a-z)\]][.!?;])\s+(?=["'(]?[A-Z0-9•*-])   # a full stop after a word, before the start of a sentence
    |(?<=\d\.)\s+(?=[A-Z])                       # a stop after a number
    |(?<=mm\.)\s+|(?<=cm\.)\s+
    |\s*[\n•·"“”]+\s*                            # list items
    """,
    re.VERBOSE,
)

_HARD_BREAK = re.compile(
    r"""
    \s*;\s+
    |\s*:\s+(?!(?:none|not|absent|negative|enlarged|increased|thickened|dilated)\b|no\s*\.?$)
    |[,]?\s+(?=(?:but|however|whereas|while|although|though|except(?:\s+for)?|with\s+the\s+exception\s+of)\b)
    """,
    re.VERBOSE,
)
_SOFT_BREAK = re.compile(r"\s*,\s+(?:and\s+|or\s+)?|\s+and\s+|\s+with\s+(?=no\b)|\s*\.\s+")
_PREDICATE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|shows?|showed|demonstrates?|appears?|contains?|remains?|no(?=\s+\w+.*\b(?:is|are|was|were)\b))\b"
)

_SEEN = (
    r"(?:be\s+|been\s+)?(?:\w+ly\s+)?(?:detected|observed|seen|found|identified|present|noted|visible|visuali[sz]ed"
    r"|distinguished|encountered|demonstrated|shown|appreciated|recogni[sz]ed|depicted|selected|monitored|evident"
    r"|apparent|remarkable|thickened|enlarged|increased|dilated)\b"
)
_NEGATION_BEFORE = re.compile(
    r"""
    \bno\b(?!\s+(?:\w+\s+){0,2}(?:changes?|differences?|progression|regression|longer|doubt|evidence\s+that)\b)
    |\bwithout\b|\bneither\b|\bnor\b|\bfree\s+(?:of|from)\b|\babsence\s+of\b|\bnegative\s+for\b|\bdevoid\s+of\b
    |\black\s+of\b(?!\s+contrast)|\brules?\s+out\b|\bruled\s+out\b|\brather\s+than\b
    |\b(?:do|does|did)\s+not\s+(?:show|demonstrate|contain|have|reveal|suggest)\b|\bnot\s+(?:any|a|an|have)\b|\bnot\s+$
    |\b(?:removal|resolution)\s+of\b|\babsent\s+$
    """,
    re.VERBOSE,
)
_NEGATION_AFTER = re.compile(
    rf"""
    \bnot\s+(?!previously\b){_SEEN}(?!\s+(?:in|on|at)\s+(?:the\s+)?(?:previous|prior|old|earlier)\b)
    |\b(?:is|are|was|were)\s+(?:absent|ruled\s+out|excluded)\b
    |\b(?:has|have)\s+(?:\w+ly\s+)?resolved\b|\b(?:completely\s+)?disappeared\b
    |^\s*(?:was|were|(?:has|have)\s+been)\s+removed\b
    |\bno\s+longer\s+{_SEEN}
    |:\s*(?:none|not?|absent|negative)\b|^\s*\(\s*-\s*\)
    """,
    re.VERBOSE,
)
_EARLIER_WORDS = ("previous", "prior", "old", "earlier")
_EARLIER = (
    rf"(?:{'|'.join(_EARLIER_WORDS)})\s+(?:(?!current)\w+\s+){{0,3}}?"
    r"(?:examinations?|ct|scans?|stud(?:y|ies)|images?|reviews?)"
)
_SEEN_EARLIER = re.compile(
    rf"""
    (?:\s*,)?(?:\s+(?:which|that)\s+(?:is|are|was|were|had\s+been)\s+(?:also\s+)?|\s+)(?<!not\s)
    (?:observed|seen|described|defined|detected|noted|selected|present)\s+in\s+(?:the\s+)?(?:patient'?s?\s+)?{_EARLIER}
    (?:\s+of\s+the\s+patient)?\b,?
    """,
    re.VERBOSE,
)
_IS_HISTORY = re.compile(
    rf"^in\s+(?:the\s+)?(?:patient'?s?\s+)?{_EARLIER}(?:\s+of\s+the\s+patient)?,?\s+there\s+(?:is|are|was|were)\b"
)
_NEGATION_WITHIN = re.compile(r"\b(?:not|no|neither|nor|without)\b")
_OTHER_THAN = re.compile(
    rf"^(?:\s+(?:is|are|was|were)\s+{_SEEN})?\s+(?:other\s+than|apart\s+from|besides)\b.*\bones?\b"
)
_SCOPE_END = re.compile(
    rf"\b(?:except|other\s+than|apart\s+from|which|whose|but)\b|\b(?:is|are|was|were|been)\s+{_SEEN}(?!\s+of\b)"
)
_POSITIVE_PREDICATE = re.compile(rf"\b(?:is|are|was|were|been)\s+{_SEEN}|\bthere\s+(?:is|are|was|were)\b")

_UNCERTAINTY_BEFORE = re.compile(
    r"""
    \bpossib(?:le|ly)\b|\bprobab(?:le|ly)\b|\bsuspicio(?:us|n)\b|\bsuspected\b|\bquestionable\b|\bequivocal\b
    |\b(?:may|might|could)\s+(?:be|represent|reflect|correspond|indicate|suggest)\b|\bpresumed\b|\blikely\b
    |\bc(?:an|ould)\s?not\s+(?:entirely\s+)?(?:exclude|rule\s+out)\b|\bsuggest(?:s|ing|ive\s+of)\b
    """,
    re.VERBOSE,
)
_UNCERTAINTY_AFTER = re.compile(
    r"""
    \bc(?:an|ould)\s?not\s+be\s+(?:\w+ly\s+)?(?:excluded|ruled\s+out)\b|\b(?:is|are)\s+(?:suspected|possible|questionable)\b
    |\bmay\s+be\s+present\b|\bis\s+not\s+(?:certain|excluded)\b|\bnot\s+(?:entirely\s+)?excluded\b|^\s*\?
    """,
    re.VERBOSE,
)


def split_sentences(text: str) -> tuple[str, ...]:
    """Returns the sentences and list items of a report, in order, stripped of surrounding blanks."""
    return tuple(sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip())


def without_history(sentence: str) -> str:
    """Returns a lower-case sentence without its references to earlier examinations; empty if it has no other content.

    "The effusion, which was seen in the previous examination, is not seen" denies the effusion.
    """
    if not any(word in sentence for word in _EARLIER_WORDS):
        return sentence
    return "" if _IS_HISTORY.search(sentence) else _SEEN_EARLIER.sub(" ", sentence)


def split_clauses(sentence: str) -> tuple[str, ...]:
    """Returns the clauses of a lower-case sentence; a list under one verb stays in one clause.

    A comma or an "and" separates two clauses only if both sides have a verb.
    """
    clauses: list[str] = []
    for part in _HARD_BREAK.split(sentence):
        start, has_verb = 0, False
        ends = [*_SOFT_BREAK.finditer(part), None]
        segment_start = 0
        for end in ends:
            segment = part[segment_start : end.start() if end else len(part)]
            if _PREDICATE.search(segment):
                if has_verb:
                    clauses.append(part[start:segment_start])
                    start = segment_start
                has_verb = True
            segment_start = end.end() if end else len(part)
        clauses.append(part[start:])
    return tuple(clause for clause in clauses if clause.strip())


def certainty_of(clause: str, start: int, end: int) -> Certainty:
    """Returns the certainty with which a lower-case clause states the term at `start` to `end` in it."""
    before, term, after = clause[:start], clause[start:end], clause[end:]
    if _OTHER_THAN.search(after):
        return Certainty.PRESENT
    if _is_before_cue(_UNCERTAINTY_AFTER, after) or _is_in_doubtful_parentheses(before, after):
        return Certainty.UNCERTAIN
    if (
        _NEGATION_WITHIN.search(term)
        or _is_after_cue(_NEGATION_BEFORE, before)
        or _is_before_cue(_NEGATION_AFTER, after)
    ):
        return Certainty.ABSENT
    return Certainty.UNCERTAIN if _is_after_cue(_UNCERTAINTY_BEFORE, before) else Certainty.PRESENT


def _is_after_cue(cue: re.Pattern[str], before: str) -> bool:
    """Returns whether the term is in the scope of the last cue before it."""
    found = list(cue.finditer(before))
    return bool(found) and not _SCOPE_END.search(before, found[-1].end())


def _is_before_cue(cue: re.Pattern[str], after: str) -> bool:
    """Returns whether the term is in the scope of the first cue after it: no other predicate stands in between."""
    found = cue.search(after)
    return found is not None and not _POSITIVE_PREDICATE.search(after, 0, found.start())


def _is_in_doubtful_parentheses(before: str, after: str) -> bool:
    """Returns whether the term is in parentheses that end with a question mark."""
    closing = re.match(r"[^()]*\?\s*\)", after)
    return closing is not None and before.count("(") > before.count(")")
