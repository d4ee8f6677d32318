"""Plates of single-cell images: the file format, HDF5 files, TIFF folders, the COOS-7 download.

Open this package to change how cells are read, checked or written.
"""
