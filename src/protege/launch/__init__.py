"""Runs, wherever they are made.

jobs      one piece of work and its reply, as files of JSON
launcher  the contract of whatever does jobs, and their order
local     several processes on this machine
worker    the process that does jobs, one or one after another
probe     what a run will take, from a few of its steps
"""
