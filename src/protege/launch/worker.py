"""A process that does jobs one after another: a line of JSON in, a line of JSON out.

It ends when its input ends, so it does not outlive the process that started it: a run in training is then checkpointed.
"""

from __future__ import annotations

import gc
import os
import queue
import shlex
import signal
import sys
import threading
import traceback
from typing import Any

import torch

from protege.errors import Diverged, ProtegeError, RunError
from protege.launch.jobs import Job, Reply


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever is printed on the way must not be taken for a reply
    import protege.train  # noqa: F401 (now, so that a run's seconds are its own)

    gc.freeze()  # what is imported stays: collecting after each job need not look at it
    waiting: queue.Queue[str | None] = queue.Queue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(waiting, busy), daemon=True).start()
    while (line := waiting.get()) is not None:
        reply = work(Job.model_validate_json(line))
        busy.clear()
        replies.write(reply.model_dump_json() + "\n")
        if reply.outcome == "stopped":
            return


def _listen(waiting: queue.Queue[str | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        busy.set()  # here and not where it begins: the input may end in between
        waiting.put(line)
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
            message=f"Out of memory ({said}). Use fewer --slots, or a smaller optim.batch_size.",
        )
    except Exception as error:
        traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        more = " Use fewer --slots, or a smaller optim.batch_size." if "can't allocate memory" in said else ""
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
    evaluate(Run(job.place.runs / job.run), job.place, test=True, teachers=job.references)
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
