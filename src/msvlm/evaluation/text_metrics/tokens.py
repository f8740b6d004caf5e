"""Report text -> tokens of coco-caption: lower case, without punctuation.

Its PTBTokenizer runs Stanford CoreNLP 3.4.1 with `-preserveLines -lowerCase` and removes punctuation. These are the
rules that report text needs; `docs/metrics.md` has the agreement of both.
"""

import re

_PUNCTUATION = frozenset("\"“”„«»'‘’`.?!,:;…–—-")
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_KEPT = frozenset(_BRACKETS.values())
_TWO_WORDS = {"cannot": ("can", "not"), "gonna": ("gon", "na"), "gotta": ("got", "ta"), "gimme": ("gim", "me")}

# Alternatives in order of precedence.
_TOKEN = re.compile(
    r"""
    (?i:al|apr|aug|cf|co|ct|dec|dept|dr|est|etc|ext|feb|gen|inc|jan|jr|jul|jun|lt|mar|mrs?|ms|nov|oct|prof|sept?|sr|st
       |vol|vs|[a-z](?:\.[a-z])+)\.(?![^\W_])                             # abbreviations with a full stop
    |[A-Za-z]\.(?![^\W_])(?!\s+(?:A|After|An|As|At|But|He|Her|However|If|In|It|Many|One|Other|Our|She|Since|So|Some
       |That|The|Their|Then|There|These|They|This|We|What|When|While|You)\b)  # one letter, unless a sentence follows
    |(?i:art|ca|figs?|nos?|pp?)\.(?=\s*\d)                                # abbreviations only before a number
    |[A-Za-z]+(?=n['’]t\b)|n['’]t\b|['’](?:s|m|d|ll|re|ve)\b              # can't: ca n't, it's: it 's
    |(?:(?<![^\s(\[])[-+])?(?>\d+(?:[.,:]\d+)*(?:[-/]\d+)*)(?![-/]?[^\W_])  # -5, 12.05.2020, 3-4, 10:30
    |\d+[.,]\d+|[.]\d+                                                    # 4.5x3: 4.5 x3, 10x4.5: 10x4 .5
    |[^\W_]+(?:(?:[-/+_&]|[.?!](?!\d))[^\W_]+)*                           # x-ray, pet/ct, 22x14
    |\?{2,}|!{2,}|\S
    """,
    re.VERBOSE,
)
_ACRONYM = re.compile(r"(?:[a-z]\.){2,}")
_METEOR_WORD = re.compile(r"(?:^-)?\.?[^\W_]+(?:\.[^\W_]+|(?<=\d),\d+)*|(?<=[^\W_])'[^\W_]+|[^\s-]|^-")


def coco_tokens(text: str) -> list[str]:
    """Returns the tokens of a text for BLEU, ROUGE-L and CIDEr.

    Brackets stay, as `-lrb-` and `-rrb-`, and so do signs such as % and °; other punctuation is removed.
    """
    tokens: list[str] = []
    for found in _TOKEN.findall(text):
        if found in _PUNCTUATION:
            continue
        word = _BRACKETS.get(found) or found.lower().replace("’", "'")
        tokens += _TWO_WORDS.get(word, (word,))
    return tokens


def meteor_tokens(tokens: list[str]) -> list[str]:
    """Splits tokens of `coco_tokens` as METEOR's normaliser does: x-ray into x and ray, 1/3 into 1, / and 3."""
    words: list[str] = []
    for token, follower in zip(tokens, [*tokens, ""][1:], strict=True):
        if token in _KEPT or (token.endswith(".") and follower[:1].isalpha() and not _ACRONYM.fullmatch(token)):
            words.append(token)
        elif _ACRONYM.fullmatch(token):
            words.append(token.replace(".", ""))
        else:
            words += _METEOR_WORD.findall(token)
    return words
