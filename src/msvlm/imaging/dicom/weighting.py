"""What a DICOM header says of an acquisition -> MR sequence weighting or CT contrast phase."""

import re
from dataclasses import dataclass

from msvlm.study import Modality, Weighting

SHORT_ECHO_MS = 40.0
LONG_ECHO_MS = 60.0
SHORT_REPETITION_MS = 1000.0
LONG_REPETITION_MS = 2000.0
"""The textbook limits of spin echo weighting: T1 short and short, T2 long and long, PD short echo, long repetition."""


@dataclass(frozen=True)
class AcquisitionFacts:
    """The header's words and numbers that tell the weighting; the description in lower case."""

    modality: Modality
    description: str
    image_type: tuple[str, ...] = ()
    contrast_agent: str = ""
    sequence_name: str = ""
    scanning_sequence: tuple[str, ...] = ()
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    b_value_s_mm2: float | None = None


def weighting_of(facts: AcquisitionFacts) -> Weighting:
    """The weighting or phase, as far as the header tells: what was made of the data, then names, then physics."""
    return _ct_phase(facts) if facts.modality is Modality.CT else _mr_weighting(facts)


def _says(text: str, *words: str) -> bool:
    """A word of its own: not within letters, and no digit after it; underscores part words."""
    return any(re.search(rf"(?<![a-z0-9])(?:{word})(?![a-z0-9])", text) for word in words)


def _ct_phase(facts: AcquisitionFacts) -> Weighting:
    if _says(facts.description, "native", "plain", "unenhanced", r"non[- ]?contrast", "without", r"w/?o", r"c-"):
        return Weighting.CT
    if _says(facts.description, "arterial", "art", "aorta", "cta", "ctpa", r"angio\w*"):
        return Weighting.CT_ARTERIAL
    if _says(facts.description, "venous", "portal", r"portal\w+", "pv", "ven"):
        return Weighting.CT_VENOUS
    return Weighting.CT_CONTRAST if _agent_given(facts) else Weighting.CT


def _mr_weighting(facts: AcquisitionFacts) -> Weighting:
    sequence = facts.sequence_name.lower()
    if "ADC" in facts.image_type or _says(facts.description, "adc", r"\w*_adc", "apparent"):
        return Weighting.ADC
    if facts.b_value_s_mm2 or {"DIFFUSION", "TRACEW"} & set(facts.image_type) or "ep_b" in sequence:
        return Weighting.DWI
    if _says(facts.description, r"dwi\w*", r"diff\w*", r"b ?\d{2,4}"):
        return Weighting.DWI
    if _says(facts.description, r"t2[a-z]*"):
        return Weighting.T2
    if _says(facts.description, r"t1[a-z]*", r"mp-?rage", "vibe", "lava"):
        with_agent = _agent_given(facts) or _says(facts.description, "post", "gd", "ce", r"km", r"contrast")
        return Weighting.T1_CONTRAST if with_agent else Weighting.T1
    if _says(facts.description, r"pdw?", "proton"):
        return Weighting.PD
    if _says(facts.description, "flair", "haste"):
        return Weighting.T2
    return _by_physics(facts)


def _by_physics(facts: AcquisitionFacts) -> Weighting:
    """Spin echoes only: the contrast of gradient echoes hangs on the flip angle and more."""
    echo_ms, repetition_ms = facts.echo_time_ms, facts.repetition_time_ms
    if "SE" not in facts.scanning_sequence or echo_ms is None or repetition_ms is None:
        return Weighting.MR
    if echo_ms >= LONG_ECHO_MS and repetition_ms >= LONG_REPETITION_MS:
        return Weighting.T2
    if echo_ms <= SHORT_ECHO_MS and repetition_ms <= SHORT_REPETITION_MS:
        return Weighting.T1_CONTRAST if _agent_given(facts) else Weighting.T1
    if echo_ms <= SHORT_ECHO_MS and repetition_ms >= LONG_REPETITION_MS:
        return Weighting.PD
    return Weighting.MR


def _agent_given(facts: AcquisitionFacts) -> bool:
    agent = facts.contrast_agent.strip().lower()
    return agent not in {"", "no", "n", "none", "nil", "0", "non contrast", "no contrast", "without", "unknown"}
