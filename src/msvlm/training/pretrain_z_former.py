"""Stage: masked embedding modelling. Some slices' vectors are hidden and the Z-former tells what they were.

Method: MS-VLM (arXiv 2412.13558), stage 1. The Z-former alone is trained; the loss is L1 on the hidden vectors.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from msvlm.batch import TrainingBatch
from msvlm.data.dataset import to_study_batch
from msvlm.errors import ConfigError
from msvlm.model.ms_vlm import MsVlm
from msvlm.model.z_former import EmbeddingDecoder
from msvlm.training.engine import (
    LossPart,
    Optimisation,
    Share,
    StageLoss,
    TrainingData,
    draw_samples,
    hide_slices,
    mean_over_studies,
)


@dataclass(frozen=True)
class MaskedEmbeddingSettings:
    """How the masked embedding stage hides slices.

    Attributes:
        hidden_share: of each study's slices (the paper: 0.3).
    """

    hidden_share: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 < self.hidden_share < 1.0:
            raise ConfigError(f"hidden_share {self.hidden_share}; between 0 and 1 is wanted")


class MaskedEmbeddingStage(nn.Module):
    """Trains the Z-former, and a decoder that is thrown away afterwards."""

    def __init__(
        self, model: MsVlm, data: TrainingData, settings: MaskedEmbeddingSettings, optimisation: Optimisation
    ) -> None:
        super().__init__()
        self.model = model
        encoder = model.slice_encoder
        self.decoder = EmbeddingDecoder(model.config.z_former.width, encoder.tokens, encoder.vector_width)
        self._data, self._settings, self._optimisation = data, settings, optimisation

    def trained_parameters(self) -> list[nn.Parameter]:
        """Z-former and decoder."""
        return [*self.model.z_former.parameters(), *self.decoder.parameters()]

    def batches(self, start: int, share: Share) -> Iterator[TrainingBatch]:
        step = start
        while True:
            draws = draw_samples(self._data.training, self._optimisation, step, share, None)
            studies = to_study_batch([draw.sample for draw in draws], self.model.config.input)
            yield TrainingBatch(studies, hide_slices(studies, draws, self._settings.hidden_share))
            step += 1

    def forward(self, batch: TrainingBatch) -> StageLoss:
        assert batch.studies.slice_vectors is not None
        vectors = self.model.standardiser(batch.studies.slice_vectors)
        told = self.decoder(self.model.z_former(vectors, batch.studies, batch.hidden))
        error = (told.float() - vectors).abs().mean(dim=(1, 2))
        loss = mean_over_studies(error, batch.studies.study_index, batch.hidden, batch.studies.studies)
        return StageLoss(loss, (LossPart("l1", loss),))

    def after_step(self, step: int) -> None:
        """Nothing moves but what the optimiser moves."""
