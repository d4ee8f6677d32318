"""Adapt a model to one plate with the labels of some of its cells."""
