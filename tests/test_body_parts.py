"""Body parts: standard terms are kept, other text is dropped."""

import pytest

from msvlm.imaging.dicom.body_parts import normalise_body_part


@pytest.mark.parametrize(
    "text", ["CHEST", "Chest", "CSPINE", "C-SPINE", "THORAX", "CHEST_ABDOMEN", "WHOLE BODY", "PROSTATE"]
)
def test_terms_are_returned_in_lower_case(text: str) -> None:
    assert normalise_body_part(text) == text.lower()


@pytest.mark.parametrize(
    "text", ["", "DOE JANE 1970", "CHEST DOE", "CHEST 1970", "CHEST.", "chest\n", "ÇHEST", "CHEST^JANE"]
)
def test_other_text_is_dropped(text: str) -> None:
    assert normalise_body_part(text) == ""
