"""Finished runs, shown: pictures, numbers and one page of both."""

from keras_ffl.reporting.figure import write_figure

__all__ = ["write_figure"]
