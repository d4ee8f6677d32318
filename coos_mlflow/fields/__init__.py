"""Fields of a microscope become cells: read what an instrument wrote, find nuclei, cut crops.

`sources` read the formats of instruments, one file each, as a `PlateImages`. `survey` says what is
there, and `channels` chooses protein and nucleus. `segmenters` find nuclei, one file each.
`reading` gives the two channels of a field, `cells` the crops and what is measured of each cell,
`quality` the figures of a field and of a well. `writers` write plates of fields.
"""
