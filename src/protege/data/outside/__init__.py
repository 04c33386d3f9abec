"""Code and images that a user brings in files of Python: what of it may run, and what it gives."""
