"""Runs keras_ffl/commands/transfer.py, as `keras-ffl transfer` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("transfer")
