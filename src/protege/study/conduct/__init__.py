"""From a plan to finished runs.

select      which configuration an arm is reported with
jobs        what is to be done next, and how far it is
probing     a few steps of each kind of run, on this machine
estimate    what the runs that are left will take, and whether there is as much
progress    all of this on a terminal
"""
