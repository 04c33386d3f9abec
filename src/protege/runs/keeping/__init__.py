"""Many runs: what is said of each in a row, what they belong to, and how they leave a folder or a machine.

rows       a flat row of each, for lists and tables
belonging  studies and students that need them
archive    packed for another machine
hub        fetched from where others published them
"""
