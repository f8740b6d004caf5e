"""Weighting and contrast phase inferred from headers."""

import pytest

from msvlm.imaging.dicom.weighting import AcquisitionFacts, infer_weighting
from msvlm.study import Modality, Weighting


@pytest.mark.parametrize(
    ("description", "agent", "weighting"),
    [
        ("thorax 1.0 b70f", "", Weighting.CT),
        ("thorax 1.0 b70f", "ISOVUE300/100", Weighting.CT_CONTRAST),
        ("thorax", "NONE", Weighting.CT),
        ("abdomen arterial 2mm", "APPLIED", Weighting.CT_ARTERIAL),
        ("abd_portal_venous", "APPLIED", Weighting.CT_VENOUS),
        ("thorax cta pe", "", Weighting.CT_ARTERIAL),
        ("thorax native", "APPLIED", Weighting.CT),
        ("chest w/o", "", Weighting.CT),
        ("chest non-contrast", "", Weighting.CT),
        ("heart partial", "", Weighting.CT),
    ],
)
def test_ct_phase(description: str, agent: str, weighting: Weighting) -> None:
    assert infer_weighting(AcquisitionFacts(Modality.CT, description, contrast_agent=agent)) is weighting


@pytest.mark.parametrize(
    ("description", "weighting"),
    [
        ("t2_tse_sag", Weighting.T2),
        ("sag t2w hires", Weighting.T2),
        ("t2flair ax", Weighting.T2),
        ("t1_vibe_dixon", Weighting.T1),
        ("t1_flair", Weighting.T1),
        ("t1 ax post gd", Weighting.T1_CONTRAST),
        ("mprage", Weighting.T1),
        ("flair cor", Weighting.T2),
        ("tfl_3d pd ref_tra_1.5x1.5_t3", Weighting.PD),
        ("ep2d_diff_b800", Weighting.DWI),
        ("dwi ax", Weighting.DWI),
        ("ep2d_diff_tra_adc", Weighting.ADC),
        ("survey of st2e1", Weighting.MR),
        ("", Weighting.MR),
    ],
)
def test_mr_weighting_by_name(description: str, weighting: Weighting) -> None:
    assert infer_weighting(AcquisitionFacts(Modality.MR, description)) is weighting


@pytest.mark.parametrize(
    ("echo_ms", "repetition_ms", "sequence", "weighting"),
    [
        (100.0, 4000.0, "SE", Weighting.T2),
        (12.0, 500.0, "SE", Weighting.T1),
        (15.0, 3000.0, "SE", Weighting.PD),
        (50.0, 1500.0, "SE", Weighting.MR),
        (12.0, 500.0, "GR", Weighting.MR),
        (None, 500.0, "SE", Weighting.MR),
    ],
)
def test_mr_weighting_by_echo_and_repetition_time_of_spin_echoes(
    echo_ms: float | None, repetition_ms: float, sequence: str, weighting: Weighting
) -> None:
    facts = AcquisitionFacts(
        Modality.MR, "ax", scanning_sequence=(sequence,), echo_time_ms=echo_ms, repetition_time_ms=repetition_ms
    )
    assert infer_weighting(facts) is weighting


def test_derived_image_types_and_b_values_take_precedence_over_names() -> None:
    facts = AcquisitionFacts(Modality.MR, "t2 something", image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC"))
    assert infer_weighting(facts) is Weighting.ADC
    assert infer_weighting(AcquisitionFacts(Modality.MR, "t2 something", b_value_s_mm2=500.0)) is Weighting.DWI
