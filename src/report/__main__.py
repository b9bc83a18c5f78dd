"""Page, figures and tables of runs, from their records: `python -m src.report [FOLDER ...] [--out DIR]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from src.common.errors import InputError
from src.common.tables import plain_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the report; return 0, or 2 for bad input."""
    parser = argparse.ArgumentParser("python -m src.report", description="Write page, figures and tables of runs.")
    parser.add_argument("folders", nargs="*", type=Path, help="sweep or run folders (default: the newest sweep)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: FOLDER/report; of several "
                        "folders: report-DIGEST in the folder that holds them)")  # fmt: skip
    args = parser.parse_args(arguments)
    from src.report.runs import gather, newest_sweep
    from src.report.writing import report_folder, write

    try:
        folders = args.folders or [newest_sweep(Path("multirun"))]
        print(*write(gather(folders), args.out or report_folder(folders), folders), sep="\n")
    except InputError as error:
        print(f"error: {plain_text(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
