"""Transformer layers over packed studies, where a study never attends to its neighbour; weight initialisation."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from msvlm.errors import ConfigError

INITIAL_STD = 0.02


class TransformerLayer(nn.Module):
    """A pre-norm transformer layer with self-attention within each study."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, tokens: Float[Tensor, "tokens width"], lengths: list[int]) -> Float[Tensor, "tokens width"]:
        """Returns the tokens after attention within each study.

        Args:
            tokens: the tokens of all studies, study after study.
            lengths: how many tokens each study has.
        """
        packed = self.queries_keys_values(self.attention_norm(tokens)).unflatten(1, (3, self.heads, -1))
        dropout = self.dropout if self.training else 0.0
        attended = attend_within_studies(packed[:, 0], packed[:, 1], packed[:, 2], lengths, dropout)
        tokens = tokens + F.dropout(self.attention_output(attended.flatten(1)), self.dropout, self.training)
        return tokens + self.feed_forward(tokens)


class FeedForward(nn.Module):
    """The feed-forward branch of a pre-norm transformer layer, without the residual connection."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens width"]:
        """Returns the residual update of each token."""
        return self.layers(tokens)


def attend_within_studies(
    queries: Float[Tensor, "tokens heads depth"],
    keys: Float[Tensor, "tokens heads depth"],
    values: Float[Tensor, "tokens heads depth"],
    lengths: list[int],
    dropout: float,
) -> Float[Tensor, "tokens heads depth"]:
    """Returns the attention of each token over the tokens of its own study.

    Studies of equal length are computed as one batch, studies of different lengths one by one.
    """
    if len(set(lengths)) == 1:
        studies = len(lengths)
        query, key, value = (
            tensor.unflatten(0, (studies, lengths[0])).transpose(1, 2) for tensor in (queries, keys, values)
        )
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return attended.transpose(1, 2).flatten(0, 1)
    pieces = zip(queries.split(lengths), keys.split(lengths), values.split(lengths), strict=True)
    attended_pieces = [attend_within_studies(query, key, value, [len(query)], dropout) for query, key, value in pieces]
    return torch.cat(attended_pieces)


def study_lengths(study_index: Int[Tensor, " slices"], studies: int) -> list[int]:
    """Returns how many slices each study has; 0 where it has none."""
    return torch.bincount(study_index, minlength=studies).tolist()


def initialise(module: nn.Module) -> None:
    """Initialises a linear or embedding layer from a truncated normal; pass it to `nn.Module.apply`.

    The standard deviation of a linear layer is at most 1 / sqrt(inputs), so that outputs are no larger than inputs.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=min(INITIAL_STD, module.in_features**-0.5))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=INITIAL_STD)


def check_width(name: str, width: int, heads: int, layers: int) -> None:
    """Checks that a transformer of these sizes can be built.

    Raises:
        ConfigError: a number below 1, or a width that is no multiple of the heads.
    """
    if min(width, heads, layers) < 1 or width % heads:
        raise ConfigError(
            f"{name}: width {width}, {heads} heads, {layers} layers; all must be at least 1, and width a multiple of "
            "heads"
        )
