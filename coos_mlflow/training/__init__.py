"""Training: from cells to fitted, evaluated and registered models.

`train` is the entry point; `table3` makes the paper's Table 3 of many rows.
"""
