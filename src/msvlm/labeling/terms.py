"""Term: words that name a finding, with the context that they require or exclude; and all terms of a vocabulary."""

import re
from dataclasses import dataclass
from functools import cached_property

from msvlm.vocabulary.vocabulary import Certainty


@dataclass(frozen=True)
class Term:
    """Words that name a finding; all patterns match lower-case text.

    Attributes:
        finding: name of a `FindingKind`.
        pattern: the words.
        needs: must match in the same clause.
        unless: must not match in the same clause.
        certainty: that of the words by themselves; cues of negation and uncertainty apply to `PRESENT` only.
    """

    finding: str
    pattern: re.Pattern[str]
    needs: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None
    certainty: Certainty = Certainty.PRESENT


def make_term(finding: str, pattern: str, needs: str = "", unless: str = "", absent: bool = False) -> Term:
    """Compiles a term; `pattern` is in `re.VERBOSE` syntax, `needs` and `unless` are not."""
    return Term(
        finding,
        re.compile(pattern, re.VERBOSE),
        re.compile(needs) if needs else None,
        re.compile(unless) if unless else None,
        Certainty.ABSENT if absent else Certainty.PRESENT,
    )


@dataclass(frozen=True)
class Terms:
    """The terms of one vocabulary."""

    terms: tuple[Term, ...]

    @cached_property
    def any_term(self) -> re.Pattern[str]:
        """Matches wherever any term does."""
        return re.compile("|".join(f"(?:{term.pattern.pattern})" for term in self.terms), re.VERBOSE)
