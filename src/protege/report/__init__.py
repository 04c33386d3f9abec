"""Finished runs -> one page that opens from disk, and Markdown, CSV and LaTeX tables of the same figures.

source     what the user named -> findings: of a study, or (`loose`) of any set of runs
material   findings, with what only the folders of the runs hold; `subjects` are what a row or a line speaks of
figures    figures -> SVG, in colours of the page
sections   one file for each: its tables and its figures, without a word about how a page looks; `SECTIONS` is their order
page       what a page consists of, and what it becomes: HTML, Markdown, CSV, LaTeX
make       all of it, for the verbs that end with a report
"""
