"""Runs keras_ffl/commands/reproduce.py, as `keras-ffl reproduce` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("reproduce")
