"""Stage: finetuning on reports. Bridge and language model are trained (its LoRA adapters where it has some).

Method: MS-VLM (arXiv 2412.13558), stage 3: LoRA and bridge. Slice encoder, Z-former and findings head stay as they are,
so that slice vectors on disk stay true and the head's probabilities keep their thresholds.
"""

from msvlm.model.ms_vlm import MsVlm
from msvlm.training.write_reports import ReportStage, ReportTraining, bridge_parameters, language_model_parameters


def finetuning_stage(model: MsVlm, training: ReportTraining) -> ReportStage:
    """The stage, its trained parameters chosen."""
    return ReportStage(model, training, bridge_parameters(model) + language_model_parameters(model))
