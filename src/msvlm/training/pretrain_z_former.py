"""Stage: masked embedding modelling. Some slice vectors are masked and the Z-former predicts them.

Method: MS-VLM (arXiv 2412.13558), stage 1. The Z-former alone is trained; the loss is L1 on the masked vectors.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from msvlm.batch import TrainingBatch
from msvlm.data.dataset import to_study_batch
from msvlm.errors import ConfigError
from msvlm.model.ms_vlm import MsVlm
from msvlm.model.transformer import initialise
from msvlm.training.loop import (
    LossPart,
    Optimisation,
    Shard,
    StageLoss,
    TrainingData,
    load_studies,
    mask_slices,
    mean_over_studies,
)


@dataclass(frozen=True)
class MaskedEmbeddingSettings:
    """Settings of masked embedding modelling.

    Attributes:
        mask_ratio: probability that a slice is masked (0.3 in the paper).
    """

    mask_ratio: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 < self.mask_ratio < 1.0:
            raise ConfigError(f"mask_ratio {self.mask_ratio}; must lie between 0 and 1")


class MaskedEmbeddingStage(nn.Module):
    """The stage that trains the Z-former, and a decoder that is discarded afterwards."""

    def __init__(
        self, model: MsVlm, data: TrainingData, settings: MaskedEmbeddingSettings, optimisation: Optimisation
    ) -> None:
        super().__init__()
        self.model = model
        encoder = model.slice_encoder
        self.decoder = EmbeddingDecoder(model.config.z_former.width, encoder.tokens, encoder.vector_width)
        self._data, self._settings, self._optimisation = data, settings, optimisation

    def trained_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters of Z-former and decoder."""
        return [*self.model.z_former.parameters(), *self.decoder.parameters()]

    def batch(self, step: int, shard: Shard) -> TrainingBatch:
        """Returns whole studies and which of their slices are masked."""
        loaded = load_studies(self._data.training, self._optimisation, step, shard, None)
        studies = to_study_batch([study.sample for study in loaded], self.model.config.input)
        return TrainingBatch(studies, mask_slices(studies, loaded, self._settings.mask_ratio))

    def forward(self, batch: TrainingBatch) -> StageLoss:
        assert batch.studies.slice_vectors is not None
        vectors = self.model.standardiser(batch.studies.slice_vectors)
        predicted = self.decoder(self.model.z_former(vectors, batch.studies, batch.masked))
        error = (predicted.float() - vectors).abs().mean(dim=(1, 2))
        loss = mean_over_studies(error, batch.studies.study_index, batch.masked, batch.studies.studies)
        return StageLoss(loss, (LossPart("l1", loss),))

    def after_step(self, step: int) -> None:
        """Does nothing."""


class EmbeddingDecoder(nn.Module):
    """A linear layer that predicts the standardised vectors of a slice from its output of the Z-former."""

    def __init__(self, z_width: int, tokens: int, vector_width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.decode = nn.Linear(z_width, tokens * vector_width)
        self.apply(initialise)

    def forward(self, z_vectors: Float[Tensor, "slices z_width"]) -> Float[Tensor, "slices tokens width"]:
        """Returns the predicted vectors."""
        return self.decode(z_vectors).unflatten(1, (self.tokens, -1))
