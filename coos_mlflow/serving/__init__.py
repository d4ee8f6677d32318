"""How a served model takes requests: decoded with care, refused in one sentence, answered in turn.

MLflow's scoring server casts, reflects and explains more than a stranger should see; the package's
models put a route of their own in the place of its `/invocations`.
"""
