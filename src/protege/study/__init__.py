"""A question -> runs -> findings: selection on held-out data; the test set stays sealed until everything has been chosen.

schema      a study's YAML file, checked
arms        from the file to the cells of the study: every arm, of every pair, with every configuration
plan        which runs that takes, and how far they are
select      which configuration an arm is reported with
probing     a few steps of each kind of run, on this machine
estimate    what the runs that are left will take, and whether there is as much
conduct     the runs, in order, over worker slots; then the unsealing
findings    what came out, as one file; `answer` is its sentence
gather      from finished runs to findings: `rows`, `summaries`, `effects`, `published`, `machines`
interim     the same of a study that is under way
run         all of this, one after another; `words` says it on a terminal
"""
