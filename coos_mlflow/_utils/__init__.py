"""Help for every room that knows nothing of cells: files, cache, progress, signals, clusters."""
