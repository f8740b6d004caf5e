"""Does the slice on which a sentence is said to rest lie inside the lesion that the sentence is about?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.evaluation.bootstrap import Estimate, PatientDraws
from msvlm.findings import CHEST_FINDING_NAMES, FOCAL_FINDINGS, Certainty, Statements
from msvlm.reporting.evidence import SentenceEvidence


@dataclass(frozen=True)
class TopSlice:
    """The strongest slice of a sentence that rightly states a focal finding.

    Attributes:
        is_inside: whether it holds a lesion of that finding; a sentence that names no slice misses.
        chance: the share of the study's slices that do.
    """

    finding: str
    is_inside: bool
    chance: float


@dataclass(frozen=True)
class EvidenceShare:
    """How often the top slice lies inside the lesion.

    Attributes:
        finding: a finding's name; empty for all of them.
        inside: the share; `count` statements.
        chance: what it would be of slices drawn blindly.
    """

    finding: str
    inside: Estimate
    chance: float


@dataclass(frozen=True)
class EvidenceAgreement:
    """The evidence of the generated reports of some studies with lesion masks.

    Attributes:
        studies: how many were looked at.
        overall: None where no focal finding was rightly stated.
        findings: of those that were.
    """

    studies: int
    overall: EvidenceShare | None
    findings: tuple[EvidenceShare, ...]


def top_slices(
    sentences: Sequence[SentenceEvidence], truth: Statements, regions: NDArray[np.bool_]
) -> tuple[TopSlice, ...]:
    """One for each focal finding that a sentence rightly states.

    `regions` (slices, findings, grid rows, grid columns) tells where the study's lesions are; slices are those that
    the sentences' evidence counts.
    """
    is_there = {item.name for item in truth if item.certainty is not Certainty.ABSENT}
    shown = np.asarray(regions.any(axis=(2, 3)))
    shows = {name: shown[:, column] for column, name in enumerate(CHEST_FINDING_NAMES)}
    return tuple(
        TopSlice(
            item.name,
            bool(found.slices) and bool(shows[item.name][found.slices[0]]),
            float(shows[item.name].mean()),
        )
        for found in sentences
        for item in found.sentence.positive_statements
        if item.name in FOCAL_FINDINGS and item.name in is_there and shows[item.name].any()
    )


def score_evidence(found: Sequence[Sequence[TopSlice]], patients: Sequence[str]) -> EvidenceAgreement | None:
    """The shares of what was found in each study, overall and by finding; None where no study was looked at."""
    if not found:
        return None
    draws = PatientDraws.of(patients)
    shares = {name: _share(found, name, draws) for name in ("", *FOCAL_FINDINGS)}
    of_findings = tuple(share for name, share in shares.items() if name and share is not None)
    return EvidenceAgreement(len(found), shares[""], of_findings)


def _share(found: Sequence[Sequence[TopSlice]], finding: str, draws: PatientDraws) -> EvidenceShare | None:
    chosen = [[top for top in own if finding in ("", top.finding)] for own in found]
    hits, counts = np.array([sum(top.is_inside for top in own) for own in chosen]), np.array([len(o) for o in chosen])
    inside = draws.share(hits.astype(float), counts.astype(float))
    if inside is None:
        return None
    return EvidenceShare(finding, inside, float(np.mean([top.chance for own in chosen for top in own])))
