"""The paper's tables: their runs, what came out, and the paper's figures."""

from keras_ffl.reproduction.entries import Entry, Figure, Table
from keras_ffl.reproduction.tables import TABLES
from keras_ffl.reproduction.workflow import reproduce

__all__ = ["TABLES", "Entry", "Figure", "Table", "reproduce"]
