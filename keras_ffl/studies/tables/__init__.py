"""The paper's tables: their runs, what came out, and the paper's errors."""

from keras_ffl.studies.tables.entries import Entry, PrintedError, Table
from keras_ffl.studies.tables.paper_tables import TABLES
from keras_ffl.studies.tables.workflow import reproduce

__all__ = ["TABLES", "Entry", "PrintedError", "Table", "reproduce"]
