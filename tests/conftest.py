"""What all tests share: shapes of tensors are checked while they run, and where the real files are."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook(["msvlm.batch", "msvlm.model", "msvlm.data", "msvlm.training"], "beartype.beartype")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files; the test is skipped where there is none."""
    folder = os.environ.get("MSVLM_REAL_DATA", "")
    if not folder:
        pytest.skip("MSVLM_REAL_DATA names no folder of real files")
    return Path(folder)
