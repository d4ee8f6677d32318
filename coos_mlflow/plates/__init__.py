"""Plates of single-cell images: the contract, HDF5 files, TIFF folders and the COOS-7 download."""
