"""Phrasebook: the phrases of synthetic reports of one body region, read from a TOML file in `phantom/phrases`.

Placeholders in a phrase: `{degree}` an adjective, `{degree_adverb}` its adverb, `{where}` a place with its preposition,
`{side}` right, left or bilateral, `{size}` a length, `{kind}` a device, `{a}` an article, `{s}` a plural ending;
in denials `{terms}` what is denied, `{is}` its verb.
"""

import string
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

import cattrs
from cattrs.errors import ClassValidationError

from msvlm.errors import ConfigError
from msvlm.vocabulary.chest import CHEST, LOBES
from msvlm.vocabulary.vocabulary import DEGREES, SIDES

_ALWAYS_FILLED = {"a", "s"}


@dataclass(frozen=True)
class FindingPhrases:
    """The phrases of one finding.

    Attributes:
        name: name of a finding.
        present: whole sentences that state it.
        absent: whole sentences that deny it.
        terms: names that fit after "no".
        brief: short forms for the impression.
        several: sentences that state several lesions together; without them one of `present` stands for all.
        adjectives: of each degree; None where those of the phrasebook fit.
    """

    name: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    terms: tuple[str, ...]
    brief: tuple[str, ...]
    several: tuple[str, ...] = ()
    adjectives: dict[str, tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        if self.name not in CHEST.names:
            raise ConfigError(f"unknown finding {self.name!r}; use one of {', '.join(CHEST.names)}")
        _check_placeholders(self.name, (*self.present, *self.brief, *self.several), _placeholders_of(self.name))
        _check_placeholders(self.name, (*self.absent, *self.terms), set())
        if not (self.present and self.absent and self.terms and self.brief):
            raise ConfigError(f"{self.name}: give at least one phrase in each of present, absent, terms and brief")
        if self.adjectives is not None:
            _check_degrees(f"{self.name}: adjectives", self.adjectives)


@dataclass(frozen=True)
class Phrasebook:
    """All phrases of one body region.

    Attributes:
        normal_impressions: impressions of a study without findings.
        denials: sentences that deny one term or several.
        denials_of_one: further sentences, which fit one term only.
        no_effusions: sentences that deny pleural and pericardial effusion together.
        denied_together: groups of findings that one sentence may deny together.
        adverbs, adjectives: of each degree.
        findings: in the order of the report.
    """

    normal_impressions: tuple[str, ...]
    denials: tuple[str, ...]
    denials_of_one: tuple[str, ...]
    no_effusions: tuple[str, ...]
    denied_together: tuple[tuple[str, ...], ...]
    adverbs: dict[str, tuple[str, ...]]
    adjectives: dict[str, tuple[str, ...]]
    findings: tuple[FindingPhrases, ...]

    def __post_init__(self) -> None:
        names = [phrases.name for phrases in self.findings]
        missing = [name for name in CHEST.names if name not in names]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if missing or repeated:
            raise ConfigError(
                f"each finding needs its phrases once; missing: {', '.join(missing) or 'none'}, "
                f"repeated: {', '.join(repeated) or 'none'}"
            )
        for name in (name for group in self.denied_together for name in group):
            if name not in names:
                raise ConfigError(f"denied_together: unknown finding {name!r}; use one of {', '.join(names)}")
        _check_placeholders("denials", (*self.denials, *self.denials_of_one), {"terms", "is"})
        _check_placeholders("normal_impressions", self.normal_impressions, set())
        _check_placeholders("no_effusions", self.no_effusions, set())
        _check_degrees("adverbs", self.adverbs)
        _check_degrees("adjectives", self.adjectives)

    def phrases_of(self, name: str) -> FindingPhrases:
        """Returns the phrases of a finding."""
        return next(phrases for phrases in self.findings if phrases.name == name)

    def adjectives_of(self, phrases: FindingPhrases, degree: str) -> tuple[str, ...]:
        """Returns the adjectives of a degree that fit a finding."""
        return (phrases.adjectives or self.adjectives)[degree]


@cache
def chest_phrasebook() -> Phrasebook:
    """Returns the phrases of chest CT reports; the file is read once."""
    file = resources.files("msvlm.phantom") / "phrases" / "chest.toml"
    return parse_phrasebook(file.read_text(encoding="utf-8"), "chest.toml")


def parse_phrasebook(text: str, file_name: str) -> Phrasebook:
    """Returns the phrases that a TOML text holds.

    Raises:
        ConfigError: the text is not TOML, or holds an unknown finding, key or placeholder, or a finding has no phrases.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file_name} is not valid TOML: {error}") from error
    try:
        return cattrs.Converter(forbid_extra_keys=True).structure(table, Phrasebook)
    except ClassValidationError as error:
        raise ConfigError(f"{file_name}: {'; '.join(cattrs.transform_error(error))}") from error


def _placeholders_of(name: str) -> set[str]:
    """Returns the placeholders that can be filled for a finding."""
    attributes = set(CHEST.kind(name).attributes)
    return (
        _ALWAYS_FILLED
        | ({"degree", "degree_adverb"} if attributes & set(DEGREES) else set())
        | ({"side"} if attributes & set(SIDES) else set())
        | ({"where"} if attributes & {*SIDES, *LOBES} else set())
        | ({"size"} if CHEST.kind(name).is_measured else set())
        | ({"kind"} if name == "medical_material" else set())
    )


def _check_placeholders(owner: str, phrases: Iterable[str], allowed: set[str]) -> None:
    for phrase in phrases:
        try:
            found = {field for _, field, _, _ in string.Formatter().parse(phrase) if field is not None}
        except ValueError as error:
            raise ConfigError(f"{owner}: {phrase!r} has unpaired braces") from error
        if found - allowed:
            names = ", ".join(f"{{{name}}}" for name in sorted(found - allowed))
            wanted = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "none"
            raise ConfigError(f"{owner}: {phrase!r} has {names}, which cannot be filled; allowed: {wanted}")


def _check_degrees(owner: str, words: dict[str, tuple[str, ...]]) -> None:
    if set(words) != set(DEGREES) or not all(words.values()):
        raise ConfigError(f"{owner}: give words for each of {', '.join(DEGREES)}; found {', '.join(words) or 'none'}")
