"""The networks of the representations, their training, inference and files of weights."""
