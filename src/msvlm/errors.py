"""The errors that a caller may want to catch. A message names the value found, what is expected and, where
the user can act, what to do."""


class MsvlmError(Exception):
    """Base class of all errors that msvlm raises."""


class StudyError(MsvlmError):
    """A study, series or file cannot be read."""


class GeometryError(StudyError):
    """The geometry of a series does not allow the operation: uneven spacing, a missing slice, duplicate positions."""


class ReportError(MsvlmError):
    """A report cannot be read or written."""


class ConfigError(MsvlmError):
    """A configuration holds an unknown key or a bad value."""


class DataError(MsvlmError):
    """A data set is empty, damaged, has one patient in two splits, or names files that do not exist."""


class ModelError(MsvlmError):
    """A saved model is not found, is incomplete, or its parts do not fit together."""


class InputMismatchError(ModelError):
    """A study or batch was prepared with other settings, or for another vocabulary, than the model's."""


class OutsideTrainingError(MsvlmError):
    """A study lies outside what the model was trained on; its report would be worthless."""


class TrainingError(MsvlmError):
    """Training cannot continue: a loss that is not finite, a checkpoint of another run."""


class MetricError(MsvlmError):
    """A score cannot be computed: its package is not installed, or a model that it needs is not available."""
