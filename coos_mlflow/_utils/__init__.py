"""Helpers that know nothing of cells: files, cache, progress, signals, clusters."""
