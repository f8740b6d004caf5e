"""The command line: `msvlm VERB`. Each verb is a dataclass that imports its libraries when it runs."""

import os
import sys
from collections.abc import Sequence

import tyro

from msvlm.cli.datasets import Evaluate, Phantom, Prepare, Train
from msvlm.cli.studies import Demo, Inspect, Report
from msvlm.errors import MsvlmError, OutsideTrainingError

Verb = Demo | Inspect | Report | Phantom | Prepare | Train | Evaluate

_DESCRIPTION = (
    "Reads 3D CT and MRI studies slice by slice and drafts their reports. Research software, not a medical device."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit status.

    2, with one line on stderr, for an error that the user can correct; 3 for a study that the model cannot read since
    it lies outside what the model was trained on.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from importlib.metadata import version

        print(f"msvlm {version('msvlm')}")
        return 0
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a bar for each of many small files hides our output
    try:
        verb = tyro.cli(Verb, prog="msvlm", description=_DESCRIPTION, args=given)
        verb.run()
    except MsvlmError as error:
        print(f"msvlm: {' '.join(str(error).split())}", file=sys.stderr)
        return 3 if isinstance(error, OutsideTrainingError) else 2
    except OSError as error:
        # Not its text, which has the path: folders are named after patients. Readers that know more raise MsvlmError.
        print(f"msvlm: a file or folder cannot be used: {error.strerror or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("msvlm: stopped", file=sys.stderr)
        return 130
    return 0
