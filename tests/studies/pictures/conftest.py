import pathlib
import sys

# The tiny models of every method.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "methods"))
