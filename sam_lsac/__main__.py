"""Command line: ``python -m sam_lsac separate | calibrate | tune | plan | report | store``; ``--help`` says more."""

import sys

from sam_lsac.commands.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
