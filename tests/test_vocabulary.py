"""A vocabulary is a value: its findings in their order, and what can be said of each."""

from dataclasses import replace

import pytest

from msvlm.errors import ConfigError
from msvlm.vocabulary import find_vocabulary
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import FindingKind, Vocabulary


def test_the_chest_has_the_18_labels_of_ct_rate_in_their_order() -> None:
    labels = [kind.label for kind in find_vocabulary("chest").findings]
    assert len(labels) == 18 and labels[0] == "Medical material" and labels[-1] == "Interlobular septal thickening"
    assert CHEST.names.index("lung_nodule") == 9


def test_attributes_are_sides_parts_and_degrees_in_one_order() -> None:
    assert CHEST.attributes[:3] == ("right", "left", "right upper lobe") and CHEST.attributes[-1] == "severe"
    assert CHEST.kind("pleural_effusion").attributes == ("right", "left", "mild", "moderate", "severe")


def test_a_name_that_is_not_in_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="finding 'fracture' is not in vocabulary chest"):
        CHEST.kind("fracture")
    with pytest.raises(ConfigError, match="vocabulary 'knee' is not known; use chest"):
        find_vocabulary("knee")


def test_a_vocabulary_that_contradicts_itself_is_refused() -> None:
    nodule = FindingKind("nodule", "Nodule", "nodule", ("right", "left"))
    assert Vocabulary("toy", (nodule,)).names == ("nodule",)
    with pytest.raises(ConfigError, match="wanted at least one"):
        Vocabulary("toy", ())
    with pytest.raises(ConfigError, match="each only once"):
        Vocabulary("toy", (nodule, nodule))
    with pytest.raises(ConfigError, match="nodule has unknown attributes behind"):
        Vocabulary("toy", (replace(nodule, attributes=("behind",)),))
