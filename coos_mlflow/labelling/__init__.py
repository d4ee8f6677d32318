"""Labels of a person for the cells of a scored plate: the page, the results, the adapted model."""
