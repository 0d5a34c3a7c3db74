"""Runs keras_ffl/commands/predict.py, as `keras-ffl predict` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("predict")
