"""Runs keras_ffl/commands/train.py, as `keras-ffl train` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("train")
