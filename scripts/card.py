"""Runs keras_ffl/commands/card.py, as `keras-ffl card` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("card")
