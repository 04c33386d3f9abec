"""Runs as jobs of a SLURM cluster.

options   what is asked of the scheduler
folder    every file that a study's jobs have: scripts, jobs, replies
script    the text of a batch script, as people read and edit it
queue     squeue, sbatch, scancel and sacct, asked seldom
ends      what became of a job that left no reply, in a line
launcher  submits, follows, and finds again what was submitted
task      what a job does inside its allocation
"""
