"""From plates to a verdict: what plates ordinarily differ by, limits, ranks, and the class mix."""
