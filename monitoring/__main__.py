"""``python -m monitoring``: write the generated files; ``--check``: fail where they are not as generated."""

import argparse
import sys

from monitoring import files


def main() -> int:
    """0: written, or equal. 1: not equal."""
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    if not parser.parse_args().check:
        files.write()
        return 0
    stale = files.stale()
    for path in stale:
        print(f"{path} is not as generated: run python -m monitoring", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
