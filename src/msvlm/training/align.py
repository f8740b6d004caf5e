"""Stage: alignment. The bridge learns to speak to the language model; everything else is frozen.

Method: MS-VLM (arXiv 2412.13558), stage 2: bridge alone, language-model loss. A departure: a language model that was
built anew has no language yet and learns it here too.
"""

from msvlm.model.ms_vlm import MsVlm
from msvlm.training.write_reports import ReportStage, ReportTraining, bridge_parameters, language_model_parameters


def alignment_stage(model: MsVlm, training: ReportTraining) -> ReportStage:
    """The stage, its trained parameters chosen."""
    trained = bridge_parameters(model)
    language_model = model.config.language_model
    if language_model is not None and not language_model.checkpoint:
        trained += language_model_parameters(model)
    return ReportStage(model, training, trained)
