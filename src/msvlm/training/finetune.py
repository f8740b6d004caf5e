"""Stage: finetuning on reports. Bridge and language model are trained (its LoRA adapters where it has some).

Method: MS-VLM (arXiv 2412.13558), stage 3: LoRA and bridge. Slice encoder, Z-former and findings head stay as they are,
so that slice vectors on disk stay true and the head's probabilities keep their thresholds.
"""

from msvlm.data.text import ReportText
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.engine import Optimisation, ParameterGroup
from msvlm.training.sampling import TrainingData
from msvlm.training.write_reports import ReportSettings, ReportStage, bridge_parameters, language_model_parameters


def finetuning_stage(
    model: MsVlm, text: ReportText, data: TrainingData, settings: ReportSettings, optimisation: Optimisation
) -> ReportStage:
    """The stage, its trained parameters chosen."""
    trained = bridge_parameters(model) + language_model_parameters(model)
    return ReportStage(model, text, data, settings, optimisation, (ParameterGroup(tuple(trained)),))
