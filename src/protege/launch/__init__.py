"""Runs, wherever they are made.

jobs     one piece of work, as a line of JSON
worker   the process that does them, one after another
local    several such processes on this machine
memory   of the machine, and of a process
probe    what a run will take, from a few of its steps
"""
