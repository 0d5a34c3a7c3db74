"""What `scripts/benchmark.py` measures; not part of the package."""
