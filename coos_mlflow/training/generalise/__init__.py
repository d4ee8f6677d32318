"""Models beside the paper's 25: wells, other plates, differences with intervals, costs."""
