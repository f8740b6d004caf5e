"""Studies -> texts: what the findings head states becomes cues, and the language model writes. Many studies at once."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from msvlm.batch import StudyBatch
from msvlm.data.cues import write_cues
from msvlm.data.text import ReportText
from msvlm.findings import (
    ATTRIBUTES,
    DEGREES,
    LOBES,
    MEASURED_FINDINGS,
    SIDES,
    Certainty,
    FindingStatement,
    Statements,
    allowed_attributes,
)
from msvlm.model.findings_head import FindingsOutput
from msvlm.model.ms_vlm import MsVlm

LONGEST_REPORT_TOKENS = 512
"""A report that has not ended by then is cut."""

_EVEN_ODDS = 0.5


@dataclass(frozen=True)
class Drafts:
    """What a model says of each study of a batch.

    Attributes:
        texts: the reports as the language model wrote them.
        cues: what it was told of the findings head's answer.
        statements: the findings head's answer, a statement for each of its findings.
        findings: the same in numbers.
        visual_tokens: what it was shown of the slices.
    """

    texts: tuple[str, ...]
    cues: tuple[str, ...]
    statements: tuple[Statements, ...]
    findings: FindingsOutput
    visual_tokens: Float[Tensor, "studies visual_tokens width"]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(studies, findings), that the finding is there."""
        return torch.sigmoid(self.findings.presence_logits.float()).cpu().numpy()


def draft(model: MsVlm, text: ReportText, batch: StudyBatch, masked: Bool[Tensor, " slices"] | None = None) -> Drafts:
    """Drafts the report of each study, decoded greedily; with all slices masked it shows the model's prior."""
    with torch.inference_mode():
        reading = model.read(batch, masked)
        assert reading.visual_tokens is not None, "a model without a language model writes no drafts"
        statements = state_findings(reading.findings, model)
        cues = tuple(write_cues(stated) if model.config.cues else "" for stated in statements)
        prompts = text.prompt_batch(cues).to(reading.visual_tokens.device)
        tokens = model.generate(reading.visual_tokens, prompts, LONGEST_REPORT_TOKENS, text.end_token_id)
    texts = tuple(text.decode(row) for row in tokens.cpu())
    return Drafts(texts, cues, statements, reading.findings, reading.visual_tokens)


def state_findings(findings: FindingsOutput, model: MsVlm) -> tuple[Statements, ...]:
    """The findings head's answer to each study in words: present above the finding's threshold, absent below."""
    names = model.config.findings_head.findings
    present = torch.sigmoid(findings.presence_logits) > model.findings_head.thresholds
    likely = torch.sigmoid(findings.attribute_logits).float().cpu().numpy()
    sizes_mm = torch.exp(findings.log_sizes_mm).float().cpu().numpy()
    return tuple(
        tuple(
            FindingStatement(name, Certainty.PRESENT, _attributes(name, likely[study, column]), _size(name, size_mm))
            if is_present
            else FindingStatement(name, Certainty.ABSENT)
            for column, (name, is_present, size_mm) in enumerate(zip(names, row, sizes_mm[study], strict=True))
        )
        for study, row in enumerate(present.tolist())
    )


def vectors_hash(model: MsVlm) -> str:
    """What kept slice vectors depend on: the slice encoder, and how slices are made ready for it."""
    made_ready = hashlib.sha256(repr(model.config.input).encode()).hexdigest()[:8]
    return f"{model.slice_encoder.weights_hash()}-{made_ready}"


def _attributes(name: str, likely: NDArray[np.float32]) -> frozenset[str]:
    """Those likelier than not, of those that the finding can have: one degree, and with a lobe its side."""
    allowed = allowed_attributes(name)
    odds = {word: float(odd) for word, odd in zip(ATTRIBUTES, likely, strict=True) if word in allowed}
    chosen = {word for word in SIDES + LOBES if odds.get(word, 0.0) > _EVEN_ODDS}
    chosen |= {side for side in SIDES for lobe in LOBES if lobe in chosen and lobe.startswith(side)}
    degree = max(DEGREES, key=lambda word: odds.get(word, 0.0))
    if odds.get(degree, 0.0) > _EVEN_ODDS:
        chosen.add(degree)
    return frozenset(chosen)


def _size(name: str, size_mm: float) -> float | None:
    return float(np.rint(size_mm)) if name in MEASURED_FINDINGS else None
