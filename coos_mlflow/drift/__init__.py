"""Dataset shift on new plates, from plain arrays to drift.json.

Start at `assessment.assess`. This file holds only constants, so that the command line can import
them without NumPy or SciPy.
"""

IN_RANGE, SHIFTED, CANNOT_TELL = "in range", "shifted", "cannot tell"
"""The three verdicts."""

MIN_CELLS_PER_PLATE = 50
"""With fewer cells a plate gets no verdict and no effect sizes: chance alone moves its means as
much as a shift would."""

MIN_CELLS_PER_CLASS = 10
"""With fewer cells a class is not compared. The mean of 10 cells has a third of the standard
deviation of one cell."""

MIN_CELLS_PER_WELL = 5
"""With fewer cells a well is used neither for its class nor for the variance of wells. If two
thirds of the labels are right, four of five wells with 5 cells have a right majority."""
