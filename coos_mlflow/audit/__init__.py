"""Cells that a person labels: which ones, their labels on disk, and the error they measure.

Plain arrays and one CSV file. `frame.py` divides the cells of a plate into strata, `sequence.py`
draws them, `labels_file.py` keeps what people say, and `measure.py` turns it into a measured error.
"""
