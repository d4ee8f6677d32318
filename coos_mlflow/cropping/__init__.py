"""Images of a plate become a plate file of cells, field by field, with a page to check it by."""
