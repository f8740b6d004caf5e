"""Recognises series unlike the training data, by a distance of their slice vectors and by their headers.

Method: Mahalanobis distance under probabilistic principal components (Tipping and Bishop, J R Stat Soc B 61:611, 1999)
of each series' summary: mean and standard deviation of its slice vectors. These contain HU statistics where the slice
encoder appends them, so that a head or an abdomen differs in bone, air and fat before it differs in shape.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from msvlm.errors import DataError, ModelError
from msvlm.study import Series

FILE_NAME = "out_of_domain.safetensors"
COMPONENTS = 32
WITHIN_DEVIATIONS = 3.0
"""Number of standard deviations of the validation series' log distances that lie within the training domain.

Not a quantile: that of some hundred series depends on two of them, and other series of the same kind exceed it.
"""
LEAST_SERIES = 20
_SMALL = 1e-6


@dataclass(frozen=True)
class TrainingDomain:
    """The training domain of a model: what its training series look like, by their summaries (`summarise`).

    Attributes:
        centre, scale: (features,), mean and standard deviation of the training series' summaries.
        directions: (components, features), orthonormal principal directions of the standardised summaries.
        variances: (components,), along each direction.
        residual_variance: variance per feature orthogonal to all directions.
        largest_distance: series at a larger distance lie outside.
        modalities: those of the training series.
        body_part_words: a body part named in a header must contain one of these words; where empty, any is accepted.
        trained_on: description of the training studies, printed in every report.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    directions: NDArray[np.float32]
    variances: NDArray[np.float32]
    residual_variance: float
    largest_distance: float
    modalities: tuple[str, ...]
    body_part_words: tuple[str, ...]
    trained_on: str = ""

    def distance(self, summary: NDArray[np.float32]) -> float:
        """Returns the distance of a series' summary from the training series; about 1 for one of them."""
        standardised = (summary - self.centre) / self.scale
        along = self.directions @ standardised
        residual = float(standardised @ standardised - along @ along)
        squares = float((along**2 / self.variances).sum()) + max(residual, 0.0) / self.residual_variance
        return float(np.sqrt(squares / len(summary)))

    def outside_by_header(self, series: Series) -> str:
        """Returns why a series lies outside the domain by its modality or body part; empty where it does not."""
        if series.modality.value not in self.modalities:
            return f"{series.modality.value}, where the model was trained on {_listed(self.modalities)}"
        words = self.body_part_words
        if series.body_part and words and not any(word in series.body_part for word in words):
            return f"body part '{series.body_part}', where the model was trained on {_listed(words)}"
        return ""

    def outside_by_distance(self, summary: NDArray[np.float32]) -> str:
        """Returns why a series with this summary lies outside the domain; empty where it does not."""
        distance = self.distance(summary)
        if distance <= self.largest_distance:
            return ""
        return f"unlike the training data: distance {distance:.1f}, the limit is {self.largest_distance:.1f}"

    def save(self, folder: Path) -> None:
        """Writes the domain into a model's folder."""
        arrays = {
            "centre": self.centre,
            "scale": self.scale,
            "directions": self.directions,
            "variances": self.variances,
            "limits": np.array([self.residual_variance, self.largest_distance], dtype=np.float32),
        }
        words = json.dumps(
            {
                "modalities": self.modalities,
                "body_part_words": self.body_part_words,
                "trained_on": self.trained_on,
            }
        )
        save_file(arrays, folder / FILE_NAME, metadata={"header": words})

    @classmethod
    def load(cls, folder: Path) -> "TrainingDomain | None":
        """Reads the domain from a model's folder; None where it has none.

        Raises:
            ModelError: the file cannot be read.
        """
        path = folder / FILE_NAME
        if not path.exists():
            return None
        try:
            with safe_open(path, "numpy") as file:
                words = json.loads(file.metadata()["header"])
                residual_variance, largest_distance = file.get_tensor("limits").tolist()
                return cls(
                    centre=file.get_tensor("centre"),
                    scale=file.get_tensor("scale"),
                    directions=file.get_tensor("directions"),
                    variances=file.get_tensor("variances"),
                    residual_variance=residual_variance,
                    largest_distance=largest_distance,
                    modalities=tuple(words["modalities"]),
                    body_part_words=tuple(words["body_part_words"]),
                    trained_on=words["trained_on"],
                )
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{FILE_NAME} cannot be read as a training domain ({error}); fit it again") from error


def summarise(slice_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns (features,): mean and standard deviation of a series' slice vectors (slices, tokens, width)."""
    flat = slice_vectors.reshape(len(slice_vectors), -1).astype(np.float32)
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0)])


def fit_training_domain(
    training: NDArray[np.float32],
    validation: NDArray[np.float32],
    modalities: tuple[str, ...],
    body_part_words: tuple[str, ...],
    trained_on: str = "",
) -> TrainingDomain:
    """Fits the domain on summaries (series, features) of the training split; the validation split sets the limit.

    Raises:
        DataError: too few series, or a value that is not finite.
    """
    for name, summaries in (("training", training), ("validation", validation)):
        if len(summaries) < LEAST_SERIES:
            raise DataError(f"{len(summaries)} {name} series are too few; at least {LEAST_SERIES} are needed")
        if not np.isfinite(summaries).all():
            raise DataError(f"a {name} summary has a value that is not finite; prepare the studies again")
    centre = training.mean(axis=0)
    scale = np.maximum(training.std(axis=0), _SMALL)
    _, singular, directions = np.linalg.svd((training - centre) / scale, full_matrices=False)
    count = min(COMPONENTS, len(training) // 4)
    spectrum = singular**2 / len(training)
    residual = float(spectrum[count:].sum()) / max(1, len(centre) - count)
    domain = TrainingDomain(
        centre=centre,
        scale=scale.astype(np.float32),
        directions=np.ascontiguousarray(directions[:count]),
        variances=np.maximum(spectrum[:count], _SMALL).astype(np.float32),
        residual_variance=max(residual, _SMALL),
        largest_distance=np.inf,
        modalities=modalities,
        body_part_words=body_part_words,
        trained_on=trained_on,
    )
    logs = np.log([domain.distance(summary) for summary in validation])
    return replace(domain, largest_distance=float(np.exp(logs.mean() + WITHIN_DEVIATIONS * logs.std())))


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(words)
