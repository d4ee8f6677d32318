"""Pages and figures made of drift.json alone."""
