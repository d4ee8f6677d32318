"""What MLflow keeps: runs, registered models with their aliases, and the pyfunc itself."""
