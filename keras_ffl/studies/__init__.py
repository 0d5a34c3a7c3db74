"""Studies of trained networks: the paper's tables, reports, pictures, transfer.

Nothing that trains imports them.
"""
