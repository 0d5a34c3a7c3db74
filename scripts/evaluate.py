"""Runs keras_ffl/commands/evaluate.py, as `keras-ffl evaluate` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("evaluate")
