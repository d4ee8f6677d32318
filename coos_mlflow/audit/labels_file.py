"""`audit.csv`: what people say of cells, one row for each cell and person.

The file is beside the results and only grows: a row is appended as soon as a cell is labelled, and
undoing the last label appends a row that withdraws it.
"""
