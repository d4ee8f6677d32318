"""The drift report: scores and assessment to one plain dict, and from there to one HTML file."""
