"""Page, figures and tables of runs, from their records: `python -m src.report [FOLDER ...] [--out DIR]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and write the report; exit with status 2 for bad input."""
    parser = argparse.ArgumentParser("python -m src.report", description="Write page, figures and tables of runs.")
    parser.add_argument("folders", nargs="*", type=Path, help="sweep or run folders (default: the newest sweep)")
    where = "where to write (default: FOLDER/report; for several folders, report-DIGEST beside them)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=where)
    args = parser.parse_args(arguments)

    from src.cli.errors import plain_errors
    from src.cli.help import show
    from src.report.runs import gather, newest_sweep

    with plain_errors():
        folders = args.folders or [newest_sweep(Path("multirun"))]
        runs = gather(folders)
        from src.report.writing import report_folder, write  # slow: they import Matplotlib

        show("\n".join(map(str, write(runs, args.out or report_folder(folders), folders))))


if __name__ == "__main__":
    main()
