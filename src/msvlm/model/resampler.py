"""Any number of slices -> a fixed number of vectors for the language model.

Method: MS-VLM (arXiv 2412.13558), bridge; a perceiver resampler as in Flamingo (arXiv 2204.14198): queries attend to
the slices of their study and to the queries. Departure: a learned null key, so that a study with every slice hidden
has an answer.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from msvlm.errors import ConfigError
from msvlm.model.z_former import INITIAL_STD, FeedForward, check_width, initialise, study_lengths


@dataclass(frozen=True)
class ResamplerConfig:
    """How many vectors a study becomes; the paper has 32."""

    queries: int = 14
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        if min(self.queries, self.layers, self.heads) < 1:
            raise ConfigError(
                f"resampler: {self.queries} queries, {self.layers} layers, {self.heads} heads; 1 at least"
            )


class Resampler(nn.Module):
    """Learned queries that gather what a study's slices say."""

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
        """The queries of each study after they looked at its visible slices."""
        studies = int(study_index[-1]) + 1
        lengths = study_lengths(study_index[visible], studies)
        seen = torch.cat([self.null.to(z_vectors.dtype), z_vectors[visible]])
        queries = self.queries.expand(studies, -1, -1)
        for layer in self.layers:
            queries = layer(queries, seen, lengths)
        return self.norm(queries)


class _ResamplerLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.seen_norm = nn.LayerNorm(width)
        self.query_norm = nn.LayerNorm(width)
        self.to_queries = nn.Linear(width, width)
        self.to_keys_values = nn.Linear(width, 2 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward = FeedForward(width)

    def forward(
        self,
        queries: Float[Tensor, "studies queries width"],
        seen: Float[Tensor, "seen width"],
        lengths: list[int],
    ) -> Float[Tensor, "studies queries width"]:
        """The queries after one more look; `seen` is the null, then each study's slices, counted in `lengths`."""
        normed = self.query_norm(queries)
        asked = self.to_queries(normed)
        of_queries = self.to_keys_values(normed)
        of_seen = self.to_keys_values(self.seen_norm(seen))
        null, slices = of_seen[None, :1], of_seen[1:]
        if len(set(lengths)) == 1:
            studies = len(lengths)
            told = [null.expand(studies, -1, -1), slices.unflatten(0, (studies, lengths[0])), of_queries]
            attended = self._attend(asked, torch.cat(told, dim=1))
        else:
            pieces = zip(asked.split(1), slices.split(lengths), of_queries.split(1), strict=True)
            attended = torch.cat(
                [self._attend(ask, torch.cat([null, own[None], among], dim=1)) for ask, own, among in pieces]
            )
        queries = queries + self.attention_output(attended)
        return queries + self.feed_forward(queries)

    def _attend(
        self, asked: Float[Tensor, "studies queries width"], told: Float[Tensor, "studies told both"]
    ) -> Float[Tensor, "studies queries width"]:
        queries = asked.unflatten(2, (self.heads, -1)).transpose(1, 2)
        keys_values = told.unflatten(2, (2, self.heads, -1))
        keys, values = keys_values[:, :, 0].transpose(1, 2), keys_values[:, :, 1].transpose(1, 2)
        return F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
