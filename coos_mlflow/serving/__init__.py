"""The HTTP route of a served model: check and decode requests, score their cells, send predictions.

MLflow's scoring server converts types silently, and its error messages expose request contents and
internals. The package's models therefore replace its `/invocations` by their own route.
"""
