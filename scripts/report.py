"""Runs keras_ffl/commands/report.py, as `keras-ffl report` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("report")
