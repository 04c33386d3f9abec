"""Runs that no study planned, gathered as a study's are.

grouping   which of them differ in seed alone, who taught whom, and what tells them apart
layout     cells, teachers and comparisons of them: what `study.findings` asks of a study's plan
findings   from these to findings, which explore and conclude nothing
"""
