"""Training speed, measured: ours against a plain PyTorch loop, one factor at a time, in one interleaved run.

reference.py   the loop as a tutorial would write it             ours.py      our own training loop, held open between passes
limits.py      how quick this machine is at best                 process.py   a process that does one of these
variants.py    what is compared with what                        conduct.py   the processes in turns, within a budget of time
outcome.py     what was measured                                 tables.py, written.py   show and keep it
"""
