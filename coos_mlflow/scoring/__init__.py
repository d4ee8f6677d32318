"""Score a plate with a model, and write a folder of results."""
