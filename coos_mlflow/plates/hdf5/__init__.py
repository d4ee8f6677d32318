"""Plate files as HDF5: opened, verified before they are read, and written."""
