"""The errors a caller may want to catch. Each message gives the value found, what was wanted, and the cure."""


class MsvlmError(Exception):
    """Any error that msvlm raises on purpose."""


class StudyError(MsvlmError):
    """A study, series or file cannot be read as what it claims to be."""


class GeometryError(StudyError):
    """Slices lie where the asked operation has no answer: uneven spacing, a missing slice, duplicate positions."""


class ReportError(MsvlmError):
    """A report cannot be read or written in the asked form."""


class ConfigError(MsvlmError):
    """A configuration holds an unknown key or a value that makes no sense."""


class DataError(MsvlmError):
    """A data set is empty, leaks between splits, or points at files that are not there."""


class ModelError(MsvlmError):
    """A saved model is incomplete, or its parts do not fit each other."""


class InputMismatchError(ModelError):
    """A study or batch was prepared otherwise than the model was trained to read."""


class TrainingError(MsvlmError):
    """Training cannot go on: a loss that is not a number, a checkpoint of another run."""


class MetricError(MsvlmError):
    """A score cannot be computed here: its package is not installed, or a model that it needs cannot be had."""
