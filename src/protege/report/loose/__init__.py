"""Findings of runs that no study planned."""
