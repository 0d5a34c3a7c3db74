"""Reports of finished runs: figures, measurements and a page of both."""

from keras_ffl.studies.report.run_figure import write_figure
from keras_ffl.studies.report.run_report import write_report

__all__ = ["write_figure", "write_report"]
