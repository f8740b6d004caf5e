"""What is measured on a split counts what is known of it, and leaves the model in the mode in which it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_reader import tiny_study, untrained_tiny_reader

from msvlm.data.dataset import StudyDataset
from msvlm.data.manifest import ManifestStudy
from msvlm.data.slice_store import SliceStore
from msvlm.imaging.preprocess import prepare_study
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.calibrate import measure_cue_errors, measure_prevalence, set_thresholds
from msvlm.training.validation import evaluation_mode, predict_presence
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements

NODULE, EMPHYSEMA = CHEST.names.index("lung_nodule"), CHEST.names.index("emphysema")


@pytest.fixture(scope="module")
def model() -> MsVlm:
    return untrained_tiny_reader()


def dataset(model: MsVlm, folder: Path, truths: list[Statements]) -> StudyDataset:
    """Tiny studies with these truths."""
    store = SliceStore.create(folder, CHEST, model.config.input, model.slice_encoder.region_grid)
    listed = []
    for number, truth in enumerate(truths):
        study = tiny_study(500 + number)
        if study.key not in store:
            store.write(prepare_study(study, model.config.input), None)
        listed.append(ManifestStudy(study.key, study.key, "validation", ("x",), truth=truth))
    return StudyDataset(listed, store)


def nodule(certainty: Certainty) -> Statements:
    return (FindingStatement("lung_nodule", certainty),)


def test_prevalence_is_that_of_the_studies_of_which_a_finding_is_known(model: MsVlm, tmp_path: Path) -> None:
    truths = [nodule(Certainty.PRESENT), nodule(Certainty.ABSENT), nodule(Certainty.UNKNOWN), nodule(Certainty.ABSENT)]
    prevalence = measure_prevalence(dataset(model, tmp_path, truths), CHEST, 0)
    assert float(prevalence.presence[NODULE]) == pytest.approx(1 / 3)
    assert float(prevalence.presence[EMPHYSEMA]) == 0.5, "of no study known: even odds"
    assert (prevalence.cells == 0).all()


def test_cue_errors_and_thresholds_count_only_what_is_known(model: MsVlm, tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    some = dataset(model, tmp_path, [nodule(Certainty.PRESENT), nodule(Certainty.ABSENT)])
    more = dataset(
        model, tmp_path, [nodule(Certainty.PRESENT), nodule(Certainty.ABSENT), nodule(Certainty.UNKNOWN), ()]
    )
    set_thresholds(model, some, accelerator)
    before = model.findings_head.thresholds.clone()
    set_thresholds(model, more, accelerator)
    assert torch.equal(model.findings_head.thresholds[NODULE], before[NODULE])
    for threshold, missed, invented in ((0.0, 0.0, 1.0), (1.0, 1.0, 0.0)):
        model.findings_head.set_thresholds(torch.full((18,), threshold))
        errors = [measure_cue_errors(model, studies, 0.1, accelerator) for studies in (some, more)]
        assert errors[0] == errors[1]
        assert (errors[0].missed[NODULE], errors[0].invented[NODULE]) == (missed, invented)
        assert (errors[0].missed[EMPHYSEMA], errors[0].invented[EMPHYSEMA]) == (0.0, 0.0), "of no study known"


@pytest.mark.parametrize("is_training", [True, False])
def test_the_model_keeps_its_mode(model: MsVlm, tmp_path: Path, is_training: bool) -> None:
    model.train(is_training)
    truth, probabilities = predict_presence(model, dataset(model, tmp_path, [()]), Accelerator(cpu=True))
    assert model.training is is_training
    assert np.isnan(truth).all() and probabilities.shape == (1, 18)
    with evaluation_mode(model):
        assert not model.training
    assert model.training is is_training
    model.eval()
