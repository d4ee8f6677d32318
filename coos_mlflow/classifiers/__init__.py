"""Classifiers on feature matrices; `kinds` has one file for each kind.

`protocol` holds the settings, `fit` the fits and the predictions of left-out plates,
`forest_search` the search for a forest's parameters, `logistic_l1` the solver of the logistic
regression, `plate_effects` the model in which plates are random effects.
"""
