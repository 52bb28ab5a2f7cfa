"""`python -m tinybert`: the same as the command `tinybert`."""

import sys

from tinybert.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
