"""Body parts: DICOM's terms pass, anything else does not."""

import pytest

from msvlm.imaging.dicom.body_parts import known_body_part


@pytest.mark.parametrize(
    "text", ["CHEST", "Chest", "CSPINE", "C-SPINE", "THORAX", "CHEST_ABDOMEN", "WHOLE BODY", "PROSTATE"]
)
def test_terms_pass_in_lower_case(text: str) -> None:
    assert known_body_part(text) == text.lower()


@pytest.mark.parametrize(
    "text", ["", "DOE JANE 1970", "CHEST DOE", "CHEST 1970", "CHEST.", "chest\n", "ÇHEST", "CHEST^JANE"]
)
def test_all_else_is_dropped(text: str) -> None:
    assert known_body_part(text) == ""
