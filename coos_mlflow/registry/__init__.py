"""Everything that talks to MLflow: runs, registered models, aliases, the outbox."""
