"""Slice vectors -> the same with mean 0 and standard deviation 1 in every channel over the training slices."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from msvlm.errors import ModelError

SMALLEST_SCALE = 1e-2
"""A channel that hardly varies over the training slices (air in a corner) is not blown up beyond this."""
FARTHEST = 20.0
"""Standard deviations beyond which a value says only that nothing like it was seen in training."""


class VectorStandardiser(nn.Module):
    """Without it a Z-former learned nothing from slice vectors in 400 steps: their channels differ too much in size."""

    def __init__(self, tokens: int, vector_width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tokens, vector_width))
        self.register_buffer("scale", torch.ones(tokens, vector_width))
        self.register_buffer("fitted", torch.tensor(False))
        self.mean: Tensor
        self.scale: Tensor
        self.fitted: Tensor

    def fit(self, mean: Float[Tensor, "tokens width"], scale: Float[Tensor, "tokens width"]) -> None:
        """Takes the mean and standard deviation of each channel over the training slices.

        Raises:
            ModelError: another shape than the slice vectors', or a value that is no number.
        """
        for name, value in (("mean", mean), ("scale", scale)):
            if value.shape != self.mean.shape:
                raise ModelError(
                    f"standardiser: {name} of shape {tuple(value.shape)}, wanted {tuple(self.mean.shape)}; "
                    "measure it on vectors of this slice encoder"
                )
            if not torch.isfinite(value).all():
                raise ModelError(f"standardiser: {name} holds values that are no numbers; look at the slice vectors")
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp(min=SMALLEST_SCALE))
        self.fitted.fill_(True)

    def forward(self, vectors: Float[Tensor, "slices tokens width"]) -> Float[Tensor, "slices tokens width"]:
        """The standardised vectors, in float32.

        Raises:
            ModelError: it was never fitted.
        """
        if not bool(self.fitted):
            raise ModelError(
                "standardiser: not fitted; call fit() with the mean and scale of the training slices' vectors first"
            )
        return ((vectors.float() - self.mean.float()) / self.scale.float()).clamp(-FARTHEST, FARTHEST)
