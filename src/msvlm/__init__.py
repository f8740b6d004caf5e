"""msvlm reads a 3D CT or MRI study slice by slice and drafts its radiology report. Public names load on first use."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msvlm.evaluation.evaluate import evaluate
    from msvlm.imaging.read import read_study
    from msvlm.report import Report
    from msvlm.reporting.documents import write_documents
    from msvlm.reporting.reporter import Reporter
    from msvlm.study import Series, Study
    from msvlm.training.run import train

__all__ = ["Report", "Reporter", "Series", "Study", "evaluate", "read_study", "train", "write_documents"]

_HOMES = {
    "Report": "msvlm.report",
    "Reporter": "msvlm.reporting.reporter",
    "Series": "msvlm.study",
    "Study": "msvlm.study",
    "evaluate": "msvlm.evaluation.evaluate",
    "read_study": "msvlm.imaging.read",
    "train": "msvlm.training.run",
    "write_documents": "msvlm.reporting.documents",
}


def __getattr__(name: str) -> object:
    """A public name, its file imported now: `import msvlm` alone loads neither numpy nor torch."""
    if name not in _HOMES:
        raise AttributeError(f"msvlm has no public name {name!r}; there are {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
