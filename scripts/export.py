"""Runs keras_ffl/commands/export.py, as `keras-ffl export` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("export")
