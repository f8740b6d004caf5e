"""Slice vectors of whole splits: computed once by a frozen slice encoder, kept on disk, standardised."""

from collections.abc import Iterable

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm

from msvlm.data.dataset import StudyDataset, to_study_batch
from msvlm.data.embeddings import VectorStore
from msvlm.model.ms_vlm import MsVlm

FITTED_STUDIES = 64
"""How many training studies the standardisation is fitted on."""
FITTED_SLICES = 12
"""Slices drawn of each of them."""


@torch.no_grad()
def store_vectors(model: MsVlm, datasets: Iterable[StudyDataset], store: VectorStore, accelerator: Accelerator) -> int:
    """Computes the vectors that the store lacks, each process its part; how many studies were computed here.

    In float32, as the Reporter computes them.
    """
    model.eval()
    computed = 0
    for dataset in datasets:
        mine = range(accelerator.process_index, len(dataset), accelerator.num_processes)
        for index in tqdm(mine, desc="slice vectors", unit="study", disable=not accelerator.is_main_process):
            if dataset.studies[index].key in store:
                continue
            sample = dataset.sample_pixels(index)
            batch = model.encode(to_study_batch([sample], model.config.input).to(accelerator.device))
            assert batch.slice_vectors is not None
            store.write(dataset.studies[index].key, batch.slice_vectors.float().cpu().numpy())
            computed += 1
    accelerator.wait_for_everyone()
    return computed


@torch.no_grad()
def fit_standardiser(model: MsVlm, dataset: StudyDataset, device: torch.device, seed: int) -> None:
    """Fits the standardisation of slice vectors on slices of the training split, drawn with the seed."""
    model.eval()
    vectors = []
    generator = np.random.default_rng(seed)
    for index in generator.permutation(len(dataset))[:FITTED_STUDIES]:
        sample = dataset.sample(int(index), FITTED_SLICES, generator)
        batch = model.encode(to_study_batch([sample], model.config.input).to(device))
        assert batch.slice_vectors is not None
        vectors.append(batch.slice_vectors.float())
    together = torch.cat(vectors)
    model.standardiser.fit(together.mean(dim=0), together.std(dim=0))
