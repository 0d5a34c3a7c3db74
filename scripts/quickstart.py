"""Runs keras_ffl/commands/quickstart.py, as `keras-ffl quickstart` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("quickstart")
