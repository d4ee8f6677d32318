"""The commands `coos` and `coos-score`: parse, call, print, exit code."""
