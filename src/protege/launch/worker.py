"""A process that does jobs: a file of JSON in, a file of JSON out.

    python -m protege.launch.worker --job FILE --reply FILE

does one. With `--slot` it does one after another, `["JOB FILE", "REPLY FILE"]` a line of its input, and keeps what it has
imported. Whoever started it holds that input open: where it ends, so does the worker, with a checkpoint of what is in training.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import queue
import shlex
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import torch

from protege.errors import Diverged, ProtegeError, RunError
from protege.launch.jobs import Job, Reply, job_in, write


def main() -> None:
    asked = _arguments()
    import protege.train  # noqa: F401 (now, so that a run's seconds are its own)

    gc.freeze()  # what is imported stays: collecting after each job need not look at it
    if asked.slot:
        _one_after_another()
        return
    try:
        write(asked.reply, work(job_in(asked.job)))
    except ProtegeError as error:  # of the files themselves
        print(f"protege: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m protege.launch.worker", description="Do a job.")
    parser.add_argument("--job", type=Path, help="file of the job")
    parser.add_argument("--reply", type=Path, help="file that its reply is written to")
    parser.add_argument("--slot", action="store_true", help="take pairs of such files from the input, until it ends")
    asked = parser.parse_args()
    if not asked.slot and (asked.job is None or asked.reply is None):
        parser.error("--job FILE and --reply FILE are needed")
    return asked


def _one_after_another() -> None:
    waiting: queue.Queue[tuple[Path, Path] | None] = queue.Queue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(waiting, busy), daemon=True).start()
    while (pair := waiting.get()) is not None:
        reply = work(job_in(pair[0]))
        busy.clear()
        write(pair[1], reply)
        if reply.outcome == "stopped":
            return


def _listen(waiting: queue.Queue[tuple[Path, Path] | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        job, reply = json.loads(line)
        busy.set()  # here and not where it begins: the input may end in between
        waiting.put((Path(job), Path(reply)))
    waiting.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)  # the training loop answers with a checkpoint


def work(job: Job) -> Reply:
    """Do it. Whatever goes wrong is a reply; what is not the user's mistake leaves its trace in the log."""
    from protege.errors import Stopped

    sys.argv = shlex.split(job.command) or sys.argv
    try:
        return Reply(key=job.key, outcome="finished", found=_done(job))
    except Stopped as stopped:
        return Reply(key=job.key, outcome="stopped", message=str(stopped))
    except Diverged as error:
        return Reply(key=job.key, outcome="diverged", message=str(error))
    except ProtegeError as error:
        return Reply(key=job.key, outcome="failed", message=str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        said = str(error).partition("\n")[0]
        return Reply(
            key=job.key,
            outcome="failed",
            message=f"Out of memory ({said}). Make fewer runs at a time, or choose a smaller optim.batch_size.",
        )
    except Exception as error:
        traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        more = (
            " Make fewer runs at a time, or choose a smaller optim.batch_size."
            if "can't allocate memory" in said
            else ""
        )
        return Reply(key=job.key, outcome="failed", message=f"{type(error).__name__}: {said}.{more}")
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _done(job: Job) -> dict[str, Any]:
    if job.verb == "train":
        _train(job)
        return {}
    if job.verb == "probe":
        from protege.launch.probe import probe

        return probe(job.config, job.stand_ins, job.place).model_dump()
    from protege.evaluate import evaluate
    from protege.runs import Run

    if job.place.threads:
        torch.set_num_threads(job.place.threads)
    evaluate(Run(job.place.runs / job.run), job.place, test=job.split == "test", teachers=job.references)
    return {}


def _train(job: Job) -> None:
    from protege.train import plan, train

    if (known := plan(job.config, job.place).id) != job.run:
        raise RunError(
            f"{job.run} would become {known}: the data or protege itself changed since it was planned. Give the same command again."
        )
    train(job.config, job.place)


if __name__ == "__main__":
    main()
