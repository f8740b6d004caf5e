"""`python -m msvlm` is `msvlm`; what launchers such as torchrun start."""

import sys

from msvlm.cli import main

if __name__ == "__main__":
    sys.exit(main())
