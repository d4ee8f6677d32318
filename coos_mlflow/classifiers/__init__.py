"""Classifiers on feature matrices: k nearest neighbours, L1 logistic regression, random forest.

`protocol` holds the settings, `fit` the pipelines and fits, `forest_search` the search for a
forest's parameters, `logistic_l1` the solver of the logistic regression.
"""
