"""The phrases of synthetic reports are checked when their file is read."""

from collections.abc import Callable
from importlib import resources

import pytest

from msvlm.errors import ConfigError
from msvlm.phantom.phrasebook import chest_phrasebook, parse_phrasebook
from msvlm.vocabulary.chest import CHEST


def _chest_text() -> str:
    return (resources.files("msvlm.phantom") / "phrases" / "chest.toml").read_text(encoding="utf-8")


def test_the_packaged_phrases_cover_each_finding_once() -> None:
    assert sorted(phrases.name for phrases in chest_phrasebook().findings) == sorted(CHEST.names)
    assert chest_phrasebook() is chest_phrasebook()


def _without_one_finding(text: str) -> str:
    start = text.index('[[findings]]\nname = "emphysema"')
    return text[:start] + text[text.index("[[findings]]", start + 1) :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('name = "emphysema"', 'name = "emphysima"'), "unknown finding 'emphysima'"),
        (lambda text: text.replace('["peribronchial_thickening", ', '["fever", '), "denied_together: .* 'fever'"),
        (_without_one_finding, "missing: emphysema, repeated: none"),
        (
            lambda text: text.replace('name = "bronchiectasis"', 'name = "consolidation"'),
            "bronchiectasis, repeated: cons",
        ),
        (
            lambda text: text.replace('name = "emphysema"', 'name = "consolidation"'),
            "consolidation: .* has {degree}, .* allowed: {a}, {s}, {side}, {where}",
        ),
        (
            lambda text: text.replace("{a} {size} nodule is", "{a} {length} nodule is"),
            "lung_nodule: .* has {length}, which cannot be filled; allowed: {a}, {s}, {side}, {size}, {where}",
        ),
        (
            lambda text: text.replace('"Heart size is normal."', '"Heart size is {degree}."'),
            "cardiomegaly: .* has {degree}, .* allowed: none",
        ),
        (lambda text: text.replace("No {terms}.", "No {term}."), "denials: .* has {term}, .* allowed: {is}, {terms}"),
        (lambda text: text.replace("No {terms}.", "No {terms."), "denials: .* unpaired braces"),
        (
            lambda text: text.replace('terms = ["bronchiectasis"', 'names = ["bronchiectasis"'),
            "names",
        ),
        (lambda text: text.replace('severe = ["severely", "markedly"]', ""), "adverbs: .* mild, moderate, severe"),
        (lambda text: text.replace("normal_impressions = [", "normal_impressions = ", 1), "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_name_of_the_entry(change: Callable[[str], str], message: str) -> None:
    text = change(_chest_text())
    assert text != _chest_text()
    with pytest.raises(ConfigError, match=message):
        parse_phrasebook(text, "chest.toml")
