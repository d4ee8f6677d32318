"""Where a plate stands beside the plates a model knows: profiles, reference, verdict."""

# The three verdicts stand here so that a command line is read without the statistics behind them.
IN_RANGE, SHIFTED, CANNOT_TELL = "in range", "shifted", "cannot tell"
