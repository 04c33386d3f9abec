"""Runs, wherever they are made.

jobs      one piece of work and its reply, as files of JSON
launcher  the contract of whatever does jobs, and their order
local     several processes on this machine
slurm     jobs of a scheduler
ray       tasks of a cluster
where     which of them, as options say it
single    one run that is made elsewhere
worker    the process that does jobs, one or one after another
probe     what a run will take, from a few of its steps
trials    what works here, found out by doing it
"""
