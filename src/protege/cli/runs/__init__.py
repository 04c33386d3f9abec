"""Verbs about runs that there are: looked at, listed, compared, moved, removed; and what their teachers said."""
