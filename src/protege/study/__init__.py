"""A question -> runs -> findings: selection on held-out data; the test set stays sealed until everything has been chosen.

question/   a YAML file -> a checked study -> its cells -> a plan: every run by its id, before the first is trained
conduct/    a plan -> finished runs: what they will take, in which order, which configuration stands, then the unsealing
findings/   finished runs -> findings.json: rows, summaries, comparisons, sentences
run         all of this, one after another; `words` says it on a terminal
"""
