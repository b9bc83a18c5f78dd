"""Page, figures and tables of runs, from their records: `python -m src.report [FOLDER ...] [--out DIR]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from src.common.errors import InputError
from src.common.tables import plain_text
from src.report.runs import gather, newest_sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the report; return 0, or 2 for bad input."""
    parser = argparse.ArgumentParser("python -m src.report", description="Write page, figures and tables of runs.")
    parser.add_argument("folders", nargs="*", type=Path, help="sweep or run folders (default: the newest sweep)")
    where = "where to write (default: FOLDER/report; for several folders, report-DIGEST beside them)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=where)
    args = parser.parse_args(arguments)
    try:
        folders = args.folders or [newest_sweep(Path("multirun"))]
        runs = gather(folders)
        from src.report.writing import report_folder, write  # slow: they import Matplotlib

        print(*write(runs, args.out or report_folder(folders), folders), sep="\n")
    except InputError as error:
        print(f"error: {plain_text(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
