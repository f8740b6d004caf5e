"""Drafts reports: the findings head's predictions become cues, and the language model writes; a batch at a time."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from msvlm.batch import StudyBatch
from msvlm.data.cues import write_cues
from msvlm.data.text import ReportText
from msvlm.model.findings_head import FindingsOutput
from msvlm.model.ms_vlm import MsVlm
from msvlm.vocabulary.vocabulary import DEGREES, SIDES, Certainty, FindingKind, FindingStatement, Statements, Vocabulary

LONGEST_REPORT_TOKENS = 512
"""A report that has not ended by then is cut."""

_EVEN_ODDS = 0.5


@dataclass(frozen=True)
class Draft:
    """The drafted report of one study, and what it was drafted from.

    Attributes:
        text: the report as the language model wrote it.
        cues: the cues in its prompt.
        statements: the predictions of the findings head, one statement per finding.
        probabilities: (findings,), probability of presence by the findings head.
        slice_attention: (slices, findings), attention of the findings head to each slice.
    """

    text: str
    cues: str
    statements: Statements
    probabilities: NDArray[np.float32]
    slice_attention: NDArray[np.float32]


def draft_reports(
    model: MsVlm, text: ReportText, batch: StudyBatch, masked: Bool[Tensor, " slices"] | None = None
) -> tuple[Draft, ...]:
    """Drafts the report of each study, decoded greedily; with all slices masked it shows the model's prior."""
    with torch.inference_mode():
        reading = model.read(batch, masked)
        assert reading.visual_tokens is not None, "a model without a language model cannot draft reports"
        statements = state_findings(reading.findings, model)
        cues = tuple(write_cues(stated, model.vocabulary) if model.config.cues else "" for stated in statements)
        prompts = text.prompt_batch(cues).to(reading.visual_tokens.device)
        tokens = model.generate(reading.visual_tokens, prompts, LONGEST_REPORT_TOKENS, text.end_token_id).cpu()
        probabilities = torch.sigmoid(reading.findings.presence_logits.float()).cpu().numpy()
        attention = reading.findings.slice_attention.float().cpu().numpy()
    study_index = batch.study_index.cpu().numpy()
    return tuple(
        Draft(text.decode(tokens[study]), cues[study], stated, probabilities[study], attention[study_index == study])
        for study, stated in enumerate(statements)
    )


def state_findings(findings: FindingsOutput, model: MsVlm) -> tuple[Statements, ...]:
    """Returns the predictions of the findings head as statements: present above a finding's threshold, else absent."""
    present = torch.sigmoid(findings.presence_logits) > model.findings_head.thresholds
    probabilities = torch.sigmoid(findings.attribute_logits).float().cpu().numpy()
    sizes_mm = torch.exp(findings.log_sizes_mm).float().cpu().numpy()
    return tuple(
        tuple(
            FindingStatement(
                kind.name,
                Certainty.PRESENT,
                _attributes(kind, model.vocabulary, probabilities[study, column]),
                float(np.rint(size_mm)) if kind.is_measured else None,
            )
            if is_present
            else FindingStatement(kind.name, Certainty.ABSENT)
            for column, (kind, is_present, size_mm) in enumerate(
                zip(model.vocabulary.findings, row, sizes_mm[study], strict=True)
            )
        )
        for study, row in enumerate(present.tolist())
    )


def vectors_hash(model: MsVlm) -> str:
    """Returns a hash of all that stored slice vectors depend on: the slice encoder, and how slices are prepared."""
    input_hash = hashlib.sha256(repr(model.config.input).encode()).hexdigest()[:8]
    return f"{model.slice_encoder.weights_hash()}-{input_hash}"


def _attributes(kind: FindingKind, vocabulary: Vocabulary, probabilities: NDArray[np.float32]) -> frozenset[str]:
    """Returns the probable attributes of those the finding can have: one degree, and with a part its side."""
    named = zip(vocabulary.attributes, probabilities, strict=True)
    probability = {word: float(value) for word, value in named if word in kind.attributes}
    chosen = {word for word in SIDES + vocabulary.parts if probability.get(word, 0.0) > _EVEN_ODDS}
    chosen |= {side for side in SIDES for part in vocabulary.parts if part in chosen and part.startswith(side)}
    degree = max(DEGREES, key=lambda word: probability.get(word, 0.0))
    if probability.get(degree, 0.0) > _EVEN_ODDS:
        chosen.add(degree)
    return frozenset(chosen)
