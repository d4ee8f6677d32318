"""Where a plate stands beside the plates a model knows: profiles, reference, verdict."""
