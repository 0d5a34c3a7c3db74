"""Runs keras_ffl/commands/gradcam.py, as `keras-ffl gradcam` does."""

import keras_ffl_launcher

if __name__ == "__main__":
    keras_ffl_launcher.run("gradcam")
