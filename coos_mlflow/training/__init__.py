"""Cells in; fitted, evaluated and registered models out."""
