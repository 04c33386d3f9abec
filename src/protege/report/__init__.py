"""Finished runs -> one page that opens from disk, and Markdown, CSV and LaTeX tables of the same figures.

source     what the user named -> findings: of a study, or of any set of runs
loose      findings of runs that no study planned: `grouping` (which differ in seed alone), `arrange` (what to call them),
           `explore` (comparisons that nobody named in advance), `provenance` (machines, ledger, costs)
subjects   what a row or a line speaks of: a teacher, or one arm of one pair
material   what only the folders of the runs hold: `curves`, `evaluations`, `pictures`
tables     findings -> rows of a `table`; `formats` is the one place where rows become text
charts     figures -> SVG, in colours of the page
sections   what the page says, in order, as `blocks`, without a word about how it looks
page       blocks -> HTML and Markdown; `write` puts all files in their folder
make       all of it, for the verbs that end with a report
"""
