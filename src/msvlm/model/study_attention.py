"""Attention that stays within a study while the slices of all studies stand packed one behind the other."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from msvlm.errors import ConfigError

INITIAL_STD = 0.02
_NEVER = -1e4
"""A logit so low that it weighs nothing beside any other, and everything where it stands alone."""


def study_lengths(study_index: Int[Tensor, " slices"], studies: int) -> list[int]:
    """How many slices each study has, none included."""
    return torch.bincount(study_index, minlength=studies).tolist()


def initialise(module: nn.Module) -> None:
    """Weights of linear and embedding layers from a narrow truncated normal, no wider than keeps the input's size."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=min(INITIAL_STD, module.in_features**-0.5))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=INITIAL_STD)


def check_width(name: str, width: int, heads: int, layers: int) -> None:
    """Refuses a transformer that cannot be built.

    Raises:
        ConfigError: a number below 1, or a width that the heads cannot share.
    """
    if min(width, heads, layers) < 1 or width % heads:
        raise ConfigError(
            f"{name}: width {width}, {heads} heads, {layers} layers; all 1 at least, and width a multiple of heads"
        )


def attend_within_studies(
    queries: Float[Tensor, "rows heads depth"],
    keys: Float[Tensor, "rows heads depth"],
    values: Float[Tensor, "rows heads depth"],
    lengths: list[int],
    dropout: float,
) -> Float[Tensor, "rows heads depth"]:
    """Each row attends to the rows of its own study; studies of one length go together, others one by one."""
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


def softmax_within_studies(
    logits: Float[Tensor, "slices findings heads"],
    study_index: Int[Tensor, " slices"],
    visible: Bool[Tensor, " slices"],
    null_logits: Float[Tensor, "studies findings heads"],
) -> Float[Tensor, "slices findings heads"]:
    """Weights that sum to 1 over a study's visible slices and the null; a hidden slice has none."""
    logits = logits.masked_fill(~visible[:, None, None], -torch.inf)
    where = study_index[:, None, None].expand_as(logits)
    peak = null_logits.detach().scatter_reduce(0, where, logits.detach(), "amax", include_self=True)
    weights = torch.exp(logits - peak[study_index])
    total = torch.exp(null_logits - peak).index_add(0, study_index, weights)
    return weights / total[study_index]


def sharp_mean_within_studies(
    values: Float[Tensor, "slices cells findings"],
    study_index: Int[Tensor, " slices"],
    visible: Bool[Tensor, " slices"],
    studies: int,
    sharpness: float,
) -> Float[Tensor, "studies findings"]:
    """A smooth maximum over a study's visible cells: their mean, each weighted by exp(sharpness x value).

    Unlike a log-sum-exp it does not grow with the number of slices. 0 where every slice is hidden.
    """
    logits = values * sharpness
    of_slice = torch.logsumexp(logits, dim=1, keepdim=True)
    mean_of_slice = (torch.exp(logits - of_slice) * values).sum(dim=1)
    null = values.new_full((studies, values.shape[2], 1), _NEVER)
    weights = softmax_within_studies(of_slice.transpose(1, 2), study_index, visible, null)[:, :, 0]
    return values.new_zeros(studies, values.shape[2]).index_add(0, study_index, weights * mean_of_slice)


class TransformerLayer(nn.Module):
    """A pre-norm transformer layer in which a study never sees its neighbour."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, rows: Float[Tensor, "rows width"], lengths: list[int]) -> Float[Tensor, "rows width"]:
        """The rows after attention within each study, whose rows stand together and are counted in `lengths`."""
        packed = self.queries_keys_values(self.attention_norm(rows)).unflatten(1, (3, self.heads, -1))
        dropout = self.dropout if self.training else 0.0
        attended = attend_within_studies(packed[:, 0], packed[:, 1], packed[:, 2], lengths, dropout)
        rows = rows + F.dropout(self.attention_output(attended.flatten(1)), self.dropout, self.training)
        return rows + self.feed_forward(rows)


class FeedForward(nn.Module):
    """What a pre-norm transformer layer adds to each row on its own."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, rows: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """What is to be added to the rows."""
        return self.layers(rows)
