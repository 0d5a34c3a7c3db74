"""The paper's tables: their runs, what came out, and the paper's figures."""

from keras_ffl.studies.tables.entries import Entry, Figure, Table
from keras_ffl.studies.tables.tables import TABLES
from keras_ffl.studies.tables.workflow import reproduce

__all__ = ["TABLES", "Entry", "Figure", "Table", "reproduce"]
