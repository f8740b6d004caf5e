"""Cues as text, and cues with random errors."""

import numpy as np
import pytest

from msvlm.data.cues import CueErrors, corrupt_cues, write_cues
from msvlm.errors import ConfigError
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

NODULE = FindingStatement("lung_nodule", Certainty.PRESENT, frozenset({"right upper lobe", "right"}), 14.2)
EFFUSION = FindingStatement("pleural_effusion", Certainty.UNCERTAIN, frozenset({"mild", "left"}))
NO_EMPHYSEMA = FindingStatement("emphysema", Certainty.ABSENT)
ALL_ABSENT = tuple(FindingStatement(name, Certainty.ABSENT) for name in CHEST.names)


def test_cues_are_written_in_the_order_of_the_vocabulary() -> None:
    expected = "lung nodule (right, right upper lobe, 14 mm); pleural effusion (left, mild)"
    assert write_cues([EFFUSION, NO_EMPHYSEMA, NODULE], CHEST) == expected
    unknown = FindingStatement("lung_opacity", Certainty.UNKNOWN)
    assert write_cues([NO_EMPHYSEMA, unknown], CHEST) == write_cues([], CHEST) == "none"
    with pytest.raises(ConfigError, match="mesorectal_fascia"):
        write_cues([FindingStatement("mesorectal_fascia", Certainty.PRESENT)], CHEST)


def cue_errors(missed: float, invented: float, misplaced: float = 0.0) -> CueErrors:
    count = len(CHEST.names)
    return CueErrors(CHEST.names, (missed,) * count, (invented,) * count, misplaced)


def test_cues_are_corrupted_at_the_given_rates_and_with_allowed_attributes_only() -> None:
    generator = np.random.default_rng(0)
    statements = (NODULE, EFFUSION, *ALL_ABSENT[:5])
    assert corrupt_cues(statements, generator, cue_errors(0.0, 0.0), CHEST) == statements
    dropped = [corrupt_cues(statements, generator, cue_errors(0.3, 0.0), CHEST) for _ in range(500)]
    absent = np.array([[item.certainty is Certainty.ABSENT for item in row[:2]] for row in dropped])
    assert 0.25 < absent.mean() < 0.35
    assert all(row[2:] == statements[2:] for row in dropped)
    corrupted = [corrupt_cues(ALL_ABSENT, generator, cue_errors(0.0, 0.1), CHEST) for _ in range(200)]
    invented = [item for row in corrupted for item in row if item.certainty is not Certainty.ABSENT]
    assert 0.08 < len(invented) / (200 * len(ALL_ABSENT)) < 0.12
    allowed = {kind.name: set(kind.attributes) for kind in CHEST.findings}
    for item in invented:
        assert item.attributes <= allowed[item.name] <= set(CHEST.attributes)
        lobes = [word for word in item.attributes if word.endswith("lobe")]
        assert len(lobes) <= 1 and all(lobe.split()[0] in item.attributes for lobe in lobes)
    moved = corrupt_cues([NODULE] * 200, generator, cue_errors(0.0, 0.0, misplaced=1.0), CHEST)
    assert all(item.certainty is Certainty.PRESENT for item in moved)
    assert len({item.attributes for item in moved}) == 5


def test_an_invented_finding_has_a_size_where_a_true_one_has() -> None:
    corrupted = corrupt_cues(ALL_ABSENT, np.random.default_rng(1), cue_errors(0.0, 1.0), CHEST)
    assert {item.name for item in corrupted if item.size_mm is not None} == {
        kind.name for kind in CHEST.findings if kind.is_measured
    }


def test_a_finding_without_error_rates_is_never_corrupted() -> None:
    errors = CueErrors((NODULE.name,), (1.0,), (0.0,), 0.0)
    corrupted = corrupt_cues([NODULE, EFFUSION], np.random.default_rng(1), errors, CHEST)
    assert corrupted[0].certainty is Certainty.ABSENT and corrupted[1] == EFFUSION
    with pytest.raises(ConfigError, match="1 findings, 2 and 1 error rates"):
        CueErrors((NODULE.name,), (1.0, 0.0), (0.0,), 0.0)


def test_corruption_depends_on_the_generator_alone() -> None:
    first, again = (corrupt_cues(ALL_ABSENT, np.random.default_rng(4), cue_errors(0.1, 0.3), CHEST) for _ in range(2))
    assert first == again
