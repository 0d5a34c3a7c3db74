"""The commands of `keras-ffl`: flags and a function `main` in each module.

`keras_ffl_launcher` imports one of them per process.
"""
