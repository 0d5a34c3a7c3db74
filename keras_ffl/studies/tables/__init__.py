"""The paper's tables: their runs, the results, and the paper's errors."""

from keras_ffl.studies.tables.entries import Entry, PrintedError, Table
from keras_ffl.studies.tables.method_tables import TABLES
from keras_ffl.studies.tables.workflow import reproduce

__all__ = ["TABLES", "Entry", "PrintedError", "Table", "reproduce"]
