"""Pages made from drift.json alone: the report of a plate file as HTML and Markdown, an overview.

`summary` collects the values, `headline` words the verdict, `html`, `markdown` and `overview` fill
the templates in the folder ``templates``.
"""
