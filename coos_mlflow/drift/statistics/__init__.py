"""Statistics of drift, one file each: pure functions on arrays that do not know each other."""
