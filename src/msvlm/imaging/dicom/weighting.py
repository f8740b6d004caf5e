"""Infers MR sequence weighting or CT contrast phase from a DICOM header."""

import re
from dataclasses import dataclass

from msvlm.study import Modality, Weighting

SHORT_ECHO_MS = 40.0
LONG_ECHO_MS = 60.0
SHORT_REPETITION_MS = 1000.0
LONG_REPETITION_MS = 2000.0
"""Textbook limits of spin echo weighting: T1 short TE and TR, T2 long TE and TR, PD short TE and long TR."""


@dataclass(frozen=True)
class AcquisitionFacts:
    """The header elements from which the weighting is inferred; the description in lower case."""

    modality: Modality
    description: str
    image_type: tuple[str, ...] = ()
    contrast_agent: str = ""
    sequence_name: str = ""
    scanning_sequence: tuple[str, ...] = ()
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    b_value_s_mm2: float | None = None


def infer_weighting(facts: AcquisitionFacts) -> Weighting:
    """Infers the weighting or phase: from derived image types, else names, else echo and repetition time."""
    return _ct_phase(facts) if facts.modality is Modality.CT else _mr_weighting(facts)


def _contains_word(text: str, *words: str) -> bool:
    """Whether the text contains one of the words (regular expressions), not adjacent to other letters or digits."""
    return any(re.search(rf"(?<![a-z0-9])(?:{word})(?![a-z0-9])", text) for word in words)


def _ct_phase(facts: AcquisitionFacts) -> Weighting:
    if _contains_word(
        facts.description, "native", "plain", "unenhanced", r"non[- ]?contrast", "without", r"w/?o", r"c-"
    ):
        return Weighting.CT
    if _contains_word(facts.description, "arterial", "art", "aorta", "cta", "ctpa", r"angio\w*"):
        return Weighting.CT_ARTERIAL
    if _contains_word(facts.description, "venous", "portal", r"portal\w+", "pv", "ven"):
        return Weighting.CT_VENOUS
    return Weighting.CT_CONTRAST if _has_contrast_agent(facts) else Weighting.CT


def _mr_weighting(facts: AcquisitionFacts) -> Weighting:
    sequence = facts.sequence_name.lower()
    if "ADC" in facts.image_type or _contains_word(facts.description, "adc", r"\w*_adc", "apparent"):
        return Weighting.ADC
    if facts.b_value_s_mm2 or {"DIFFUSION", "TRACEW"} & set(facts.image_type) or "ep_b" in sequence:
        return Weighting.DWI
    if _contains_word(facts.description, r"dwi\w*", r"diff\w*", r"b ?\d{2,4}"):
        return Weighting.DWI
    if _contains_word(facts.description, r"t2[a-z]*"):
        return Weighting.T2
    if _contains_word(facts.description, r"t1[a-z]*", r"mp-?rage", "vibe", "lava"):
        with_agent = _has_contrast_agent(facts) or _contains_word(
            facts.description, "post", "gd", "ce", r"km", r"contrast"
        )
        return Weighting.T1_CONTRAST if with_agent else Weighting.T1
    if _contains_word(facts.description, r"pdw?", "proton"):
        return Weighting.PD
    if _contains_word(facts.description, "flair", "haste"):
        return Weighting.T2
    return _weighting_from_times(facts)


def _weighting_from_times(facts: AcquisitionFacts) -> Weighting:
    """Infers the weighting of spin echoes; the contrast of gradient echoes depends on the flip angle and more."""
    echo_ms, repetition_ms = facts.echo_time_ms, facts.repetition_time_ms
    if "SE" not in facts.scanning_sequence or echo_ms is None or repetition_ms is None:
        return Weighting.MR
    if echo_ms >= LONG_ECHO_MS and repetition_ms >= LONG_REPETITION_MS:
        return Weighting.T2
    if echo_ms <= SHORT_ECHO_MS and repetition_ms <= SHORT_REPETITION_MS:
        return Weighting.T1_CONTRAST if _has_contrast_agent(facts) else Weighting.T1
    if echo_ms <= SHORT_ECHO_MS and repetition_ms >= LONG_REPETITION_MS:
        return Weighting.PD
    return Weighting.MR


def _has_contrast_agent(facts: AcquisitionFacts) -> bool:
    agent = facts.contrast_agent.strip().lower()
    return agent not in {"", "no", "n", "none", "nil", "0", "non contrast", "no contrast", "without", "unknown"}
