"""The resampler: any number of slices -> a fixed number of vectors for the language model.

Method: MS-VLM (arXiv 2412.13558), bridge; a perceiver resampler as in Flamingo (arXiv 2204.14198): queries attend to
the slices of their study and to the queries. Departure: a learned null token, so that a study with every slice masked
still has an output.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from msvlm.errors import ConfigError
from msvlm.model.transformer import INITIAL_STD, FeedForward, check_width, initialise, study_lengths


@dataclass(frozen=True)
class ResamplerConfig:
    """Number of queries, and with it of vectors per study (32 in the paper), and size of the resampler."""

    queries: int = 14
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        if min(self.queries, self.layers, self.heads) < 1:
            raise ConfigError(
                f"resampler: {self.queries} queries, {self.layers} layers, {self.heads} heads; each must be at least 1"
            )


class Resampler(nn.Module):
    """Learned queries that attend to the slices of a study."""

    def __init__(self, config: ResamplerConfig, z_width: int) -> None:
        super().__init__()
        check_width("resampler", z_width, config.heads, config.layers)
        self.queries = nn.Parameter(torch.zeros(config.queries, z_width))
        self.null = nn.Parameter(torch.zeros(1, z_width))
        self.layers = nn.ModuleList(_ResamplerLayer(z_width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(z_width)
        self.apply(initialise)
        for parameter in (self.queries, self.null):
            nn.init.trunc_normal_(parameter, std=INITIAL_STD)

    def forward(
        self,
        z_vectors: Float[Tensor, "slices z_width"],
        study_index: Int[Tensor, " slices"],
        visible: Bool[Tensor, " slices"],
    ) -> Float[Tensor, "studies queries z_width"]:
        """Returns the queries of each study after attention to its visible slices."""
        studies = int(study_index[-1]) + 1
        lengths = study_lengths(study_index[visible], studies)
        context = torch.cat([self.null.to(z_vectors.dtype), z_vectors[visible]])
        queries = self.queries.expand(studies, -1, -1)
        for layer in self.layers:
            queries = layer(queries, context, lengths)
        return self.norm(queries)


class _ResamplerLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.context_norm = nn.LayerNorm(width)
        self.query_norm = nn.LayerNorm(width)
        self.to_queries = nn.Linear(width, width)
        self.to_keys_values = nn.Linear(width, 2 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward = FeedForward(width)

    def forward(
        self,
        queries: Float[Tensor, "studies queries width"],
        context: Float[Tensor, "context width"],
        lengths: list[int],
    ) -> Float[Tensor, "studies queries width"]:
        """Returns the queries after attention to the context of their study and to one another.

        Args:
            queries: the queries of each study.
            context: the null token, then the slices of all studies, study after study.
            lengths: how many slices each study has.
        """
        normed = self.query_norm(queries)
        query = self.to_queries(normed)
        query_keys_values = self.to_keys_values(normed)
        context_keys_values = self.to_keys_values(self.context_norm(context))
        null, slices = context_keys_values[None, :1], context_keys_values[1:]
        if len(set(lengths)) == 1:
            studies = len(lengths)
            batched = [null.expand(studies, -1, -1), slices.unflatten(0, (studies, lengths[0])), query_keys_values]
            attended = self._attend(query, torch.cat(batched, dim=1))
        else:
            pieces = zip(query.split(1), slices.split(lengths), query_keys_values.split(1), strict=True)
            attended = torch.cat(
                [self._attend(one, torch.cat([null, own[None], among], dim=1)) for one, own, among in pieces]
            )
        queries = queries + self.attention_output(attended)
        return queries + self.feed_forward(queries)

    def _attend(
        self, queries: Float[Tensor, "studies queries width"], keys_values: Float[Tensor, "studies context both"]
    ) -> Float[Tensor, "studies queries width"]:
        query = queries.unflatten(2, (self.heads, -1)).transpose(1, 2)
        by_head = keys_values.unflatten(2, (2, self.heads, -1))
        key, value = by_head[:, :, 0].transpose(1, 2), by_head[:, :, 1].transpose(1, 2)
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
