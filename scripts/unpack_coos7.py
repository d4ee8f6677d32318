"""Write a COOS-7 file as a folder of TIFF images, as the authors' script of that purpose does.

Usage: python scripts/unpack_coos7.py COOS7_v1.1_test4.hdf5 test4_images
"""

from __future__ import annotations

import sys

import typer

from coos_mlflow.cli.plates import unpack
from coos_mlflow.errors import CoosError


def main() -> None:
    try:
        typer.run(unpack)
    except CoosError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
