"""Validation of labelled cells: the error that they measure, and models adapted by them."""
