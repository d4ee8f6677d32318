"""The table of what the drift report promises, and what was measured."""
