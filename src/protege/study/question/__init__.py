"""What is asked, decided before the first result is seen.

measures    what is measured of a network; a new measure is one line there
fields      run fields inside a study's file
schema      the file, checked
search      what an arm leaves to a search, and what every search may spend
arms        from the file to the cells of the study: every arm, of every pair, with every configuration
forms       where the two forms of a study, or its arms, differ
load        the two forms of a file, its teachers, names that must meet
layout      who taught whom in which cell: what findings must know, of a study or of loose runs
plan        which runs that takes
"""
