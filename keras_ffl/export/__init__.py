"""Exports trained heads to formats that don't need this package."""

from keras_ffl.export.cards import read_card
from keras_ffl.export.formats import (
    FORMATS,
    check_format,
    output_path,
    write_head,
)
from keras_ffl.export.saved_model import check_output, export_head
from keras_ffl.export.stock import stock_head
from keras_ffl.export.verification import (
    format_rows,
    run_elsewhere,
    size_on_disk,
    verify,
)

__all__ = [
    "FORMATS",
    "check_format",
    "check_output",
    "export_head",
    "format_rows",
    "output_path",
    "read_card",
    "run_elsewhere",
    "size_on_disk",
    "stock_head",
    "verify",
    "write_head",
]
