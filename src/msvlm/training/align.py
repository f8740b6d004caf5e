"""Stage: alignment. The bridge learns to speak to the language model; slice encoder and findings head are frozen.

Method: MS-VLM (arXiv 2412.13558), stage 2: bridge alone, language-model loss. Where the language model is built anew
it has no language yet, and the settings let it learn here too.
"""

from msvlm.data.text import ReportText
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.engine import Optimisation, ParameterGroup
from msvlm.training.sampling import TrainingData
from msvlm.training.write_reports import ReportSettings, ReportStage, bridge_parameters, language_model_parameters


def alignment_stage(
    model: MsVlm, text: ReportText, data: TrainingData, settings: ReportSettings, optimisation: Optimisation
) -> ReportStage:
    """The stage, its trained parameters chosen."""
    trained = bridge_parameters(model)
    if settings.train_language_model:
        trained += language_model_parameters(model)
    return ReportStage(model, text, data, settings, optimisation, (ParameterGroup(tuple(trained)),))
