"""msvlm reads a 3D CT or MRI study slice by slice and drafts its radiology report. Public names load on first use."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msvlm.report import Report
    from msvlm.reporting.documents import write_documents
    from msvlm.study import Series, Study

__all__ = ["Report", "Series", "Study", "write_documents"]

_HOMES = {
    "Report": "msvlm.report",
    "Series": "msvlm.study",
    "Study": "msvlm.study",
    "write_documents": "msvlm.reporting.documents",
}


def __getattr__(name: str) -> object:
    """A public name, its file imported now: `import msvlm` alone loads neither numpy nor torch."""
    if name not in _HOMES:
        raise AttributeError(f"msvlm has no public name {name!r}; there are {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
