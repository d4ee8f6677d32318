"""The parts of scripts/validate_drift.py: journal, figures, guarantees, service and tables."""
