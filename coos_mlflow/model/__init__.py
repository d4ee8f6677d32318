"""A trained model: representation, layer, classifier and drift reference, on disk and in memory."""
