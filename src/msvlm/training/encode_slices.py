"""Encodes the slices of whole splits once with a frozen slice encoder, and stores their vectors."""

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from tqdm import tqdm

from msvlm.data.dataset import StudyDataset, to_study_batch
from msvlm.data.vector_store import VectorStore
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.validation import evaluation_mode


@torch.no_grad()
def store_vectors(model: MsVlm, datasets: Iterable[StudyDataset], store: VectorStore, accelerator: Accelerator) -> int:
    """Computes the vectors that the store lacks, in float32 as the Reporter does; each process computes its part.

    Returns:
        The number of studies that this process computed.
    """
    computed = 0
    with evaluation_mode(model):
        for dataset in datasets:
            own = range(accelerator.process_index, len(dataset), accelerator.num_processes)
            for index in tqdm(own, desc="slice vectors", unit="study", disable=not accelerator.is_main_process):
                if dataset.studies[index].key in store:
                    continue
                sample = dataset.sample_pixels(index)
                batch = model.encode(to_study_batch([sample], model.config.input).to(accelerator.device))
                assert batch.slice_vectors is not None
                store.write(dataset.studies[index].key, batch.slice_vectors.float().cpu().numpy())
                computed += 1
    accelerator.wait_for_everyone()
    return computed
