"""From a plan to finished runs.

scores      what is known of the runs among which an arm chooses
trials      how far the trials of a search are
ask         which trials come next
select      which configuration an arm is reported with
jobs        what is to be done next, and how far it is
probing     a few steps of each kind of run, on this machine
estimate    what the runs that are left will take, and whether there is as much
progress    all of this on a terminal
seen        a study at one moment: a row for each run, and whether more will happen
watching    looked at from outside: what runs where, since when, how long still
pricing     what the networks of the arms cost where they run
"""
