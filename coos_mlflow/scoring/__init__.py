"""A plate and a model in, a folder of results out."""
