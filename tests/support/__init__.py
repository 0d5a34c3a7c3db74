"""What the tests share: tiny models, data, references and programs.

The programs are started as modules, with `tests/` in PYTHONPATH.
"""
