"""Evidence against lesion masks: does the strongest slice of a sentence show the lesion that the sentence states?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.evaluation.bootstrap import Estimate, PatientBootstrap
from msvlm.reporting.evidence import SentenceEvidence
from msvlm.vocabulary.vocabulary import Statements, Vocabulary


@dataclass(frozen=True)
class TopSlice:
    """The strongest evidence slice of a sentence that correctly states a focal finding.

    Attributes:
        is_inside: whether the slice shows a lesion of the finding; false for a sentence without evidence slices.
        chance: share of the study's slices that do.
    """

    finding: str
    is_inside: bool
    chance: float


@dataclass(frozen=True)
class EvidenceShare:
    """Share of top slices inside the lesion.

    Attributes:
        finding: name of a finding; empty for all findings together.
        inside: the share; its `count` is the number of statements.
        chance: expected share of randomly chosen slices.
    """

    finding: str
    inside: Estimate
    chance: float


@dataclass(frozen=True)
class EvidenceScores:
    """Evidence of the generated reports of studies with lesion masks.

    Attributes:
        studies: their number.
        overall: None where no report correctly states a focal finding.
        findings: those that are correctly stated.
    """

    studies: int
    overall: EvidenceShare | None
    findings: tuple[EvidenceShare, ...]


def top_slices(
    sentences: Sequence[SentenceEvidence], truth: Statements, regions: NDArray[np.bool_], vocabulary: Vocabulary
) -> tuple[TopSlice, ...]:
    """Returns one for each focal finding that a sentence correctly states.

    `regions` (slices, findings, grid rows, grid columns) marks the study's lesions; slices are numbered as in the
    sentences' evidence.
    """
    present = {item.name for item in truth if item.certainty.is_positive}
    shows_finding = np.asarray(regions.any(axis=(2, 3)))
    shows = {name: shows_finding[:, column] for column, name in enumerate(vocabulary.names)}
    return tuple(
        TopSlice(
            item.name,
            bool(found.slices) and bool(shows[item.name][found.slices[0]]),
            float(shows[item.name].mean()),
        )
        for found in sentences
        for item in found.sentence.positive_statements
        if item.name in vocabulary.focal_names and item.name in present and shows[item.name].any()
    )


def score_evidence(
    studies: Sequence[Sequence[TopSlice]], patients: Sequence[str], vocabulary: Vocabulary
) -> EvidenceScores | None:
    """Scores the top slices of each study, overall and by finding; None without studies."""
    if not studies:
        return None
    bootstrap = PatientBootstrap.of(patients)
    shares = {name: _share(studies, name, bootstrap) for name in ("", *vocabulary.focal_names)}
    of_findings = tuple(share for name, share in shares.items() if name and share is not None)
    return EvidenceScores(len(studies), shares[""], of_findings)


def _share(studies: Sequence[Sequence[TopSlice]], finding: str, bootstrap: PatientBootstrap) -> EvidenceShare | None:
    chosen = [[top for top in own if finding in ("", top.finding)] for own in studies]
    hits = np.array([sum(top.is_inside for top in own) for own in chosen])
    inside = bootstrap.ratio_of_sums(hits.astype(float), np.array([len(own) for own in chosen]).astype(float))
    if inside is None:
        return None
    return EvidenceShare(finding, inside, float(np.mean([top.chance for own in chosen for top in own])))
