"""The page that shows whether the cells of a plate were found rightly, from fields.json.

Open `html` for the page, `summary` for what it says, `headline` for its first words, `maps` and
`tables` for wells and fields, and `figures` for its drawings and pictures.
"""
