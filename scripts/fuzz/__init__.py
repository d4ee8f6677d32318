"""Hostile input for the commands and parsers, and judges of what they do with it."""
