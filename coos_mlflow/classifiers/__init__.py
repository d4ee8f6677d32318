"""Classifiers on feature matrices: k nearest neighbours, L1 logistic regression, random forest."""
