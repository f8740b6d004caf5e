"""Studies that are listed several times, once for each reconstruction of one scan: each is scored once."""

from collections.abc import Sequence
from dataclasses import dataclass

from msvlm.data.manifest import ManifestStudy
from msvlm.study import LeftOut


@dataclass(frozen=True)
class OneOfEach:
    """The studies to score, in their order, and the other reconstructions of them."""

    studies: tuple[ManifestStudy, ...]
    left_out: tuple[LeftOut, ...]


def one_of_each(studies: Sequence[ManifestStudy]) -> OneOfEach:
    """Keeps the first by key of the studies that share patient and report, word for word, and truth.

    Data sets such as CT-RATE attach one report to each reconstruction of a scan; counted as studies of their own, scans
    with many reconstructions would weigh more than others. Studies without a report are not compared.
    """
    first: dict[object, str] = {}
    for study in sorted(studies, key=lambda one: one.key):
        first.setdefault(_what_is_said(study), study.key)
    kept = set(first.values())
    left_out = tuple(
        LeftOut(study.key, f"of the same patient and with the same report as {first[_what_is_said(study)]}")
        for study in studies
        if study.key not in kept
    )
    return OneOfEach(tuple(study for study in studies if study.key in kept), left_out)


def _what_is_said(study: ManifestStudy) -> object:
    """The same of two reconstructions; a study without a report is like no other."""
    text = f"{study.findings}\n{study.impression}".split()
    return (study.patient, *text, study.truth) if text else study.key
