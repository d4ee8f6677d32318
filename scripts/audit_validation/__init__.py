"""Parts of `validate_audit.py`: plates, what labels say of them, and tables."""
