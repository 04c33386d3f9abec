"""Out of the door: `protege predict`, `export`, `measure` and `choose`."""
