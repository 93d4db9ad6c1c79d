#!/usr/bin/env python3
"""Diapason's trials on several processes: starts torchrun or DeepSpeed, and answers for all ranks with one voice.

    [trainer]
    command = ["python", "trainers/torchrun_launch.py", "--nproc-per-node", "2", "--",
               "trainers/transformers_trainer.py"]

Behind `--` stands your own script with its arguments, in which Diapason has filled in `{learning_rate}` and the like.
Its ranks find the specification in the file that DIAPASON_SPEC names, and rank 0 writes events to standard output:
transformers_trainer.py does both. `--launcher deepspeed` starts `deepspeed` instead, which needs that package.

The effective batch stays what was asked for: ranks share the accumulation, or, where that does not go, the
micro-batch. In a probe each rank runs the micro-batch itself, for it is the memory of one device that is asked about.

A dead rank is a failure of the run: `finished` is only said once all ranks have ended well. If a rank was refused
memory, that is what is said, whichever rank it was.
"""

import argparse
import ctypes
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import threading

# What PyTorch and its allocators write when memory is refused.
REFUSALS = ("OutOfMemoryError", "CUDA out of memory", "can't allocate memory")
# How this script is started for a rank.
AS_RANK = "--as-rank"
LAST_WORDS = ("finished", "out_of_memory", "diverged", "failed")
# In torchrun's account of what died first.
RANK, CODE = re.compile(r"rank\s*:\s*(\d+)"), re.compile(r"exitcode\s*:\s*(-?\d+)")


def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def shared_out(spec, ranks):
    """The specification of one rank, or why there is none."""
    point = spec["hyperparams"]
    micro, accumulation = point["micro_batch_size"], point["gradient_accumulation_steps"]
    if spec["task"]["kind"] != "probe":
        if accumulation % ranks == 0:
            accumulation //= ranks
        elif micro * accumulation % ranks == 0 and micro % ranks == 0:
            micro //= ranks
        else:
            size = micro * accumulation
            return None, f"an effective batch of {size} = {micro} × {accumulation} can't be shared by {ranks} ranks: " \
                         f"list multiples of {ranks} in `space.effective_batch_size`"
    own = {**point, "micro_batch_size": micro, "gradient_accumulation_steps": accumulation}
    return {**spec, "hyperparams": own}, None


def command_of(options):
    count = str(options.nproc_per_node)
    script = [__file__, AS_RANK, *options.script]
    if options.launcher == "deepspeed":
        return ["deepspeed", "--num_gpus", count, "--no_local_rank", *script]
    # The module of this very Python: `torchrun` on the path may belong to another one.
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count, *script]


def die_with_parent(sign=signal.SIGTERM):
    """torchrun passes a request to end on to its ranks; were it killed itself, it could not."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, sign)


def be_rank(script):
    """Runs the script as if it had been started itself, but never longer than torchrun lives.

    Ranks have sessions of their own, so that killing the group of their launcher does not reach them.
    """
    die_with_parent(signal.SIGKILL)
    sys.argv, sys.path[0] = script, os.path.dirname(os.path.abspath(script[0]))
    runpy.run_path(script[0], run_name="__main__")


class Ears:
    """What the ranks say, and what is to be remembered of it."""

    def __init__(self):
        self.has_ended, self.is_finished, self.refusal, self.errors = False, False, None, []

    def events(self, stream):
        for line in stream:
            try:
                event = json.loads(line).get("event")
            except (ValueError, AttributeError):
                event = None
            if event == "finished":
                # Held back until all ranks have ended well.
                self.is_finished = True
                continue
            self.has_ended = self.has_ended or event in LAST_WORDS
            sys.stdout.write(line)
            sys.stdout.flush()

    def messages(self, stream):
        for line in stream:
            if any(words in line for words in REFUSALS):
                self.refusal = self.refusal or line.strip()
            self.errors = [*self.errors[-199:], line]
            sys.stderr.write(line)


def last_word(ears, code):
    if ears.has_ended:
        return
    if code == 0 and ears.is_finished:
        emit("finished")
    elif code != 0 and ears.refusal:
        print(ears.refusal, file=sys.stderr)
        emit("out_of_memory")
    elif code != 0:
        text = "".join(ears.errors)
        ranks, codes = RANK.findall(text), CODE.findall(text)
        who = f"rank {ranks[-1]} died with exit code {codes[-1]}" if ranks and codes else f"exit code {code}"
        last = next((line.strip() for line in reversed(ears.errors) if "Error:" in line and "Child" not in line), "")
        emit("failed", **{"class": "internal"}, message=f"{who}{': ' if last else ''}{last}")


def main():
    if sys.argv[1:2] == [AS_RANK]:
        return be_rank(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nproc-per-node", type=int, required=True, metavar="N", help="ranks, one for each device")
    parser.add_argument("--launcher", choices=["torchrun", "deepspeed"], default="torchrun")
    parser.add_argument("script", nargs="+", help="your script and its arguments, behind `--`")
    options = parser.parse_args()
    spec, problem = shared_out(json.load(sys.stdin), options.nproc_per_node)
    if problem:
        return emit("failed", **{"class": "internal"}, message=problem)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "spec.json")
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(spec, stream)
        child = subprocess.Popen(
            command_of(options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", env={**os.environ, "DIAPASON_SPEC": file},
            preexec_fn=die_with_parent if os.name == "posix" else None)
        ears = Ears()
        threads = [threading.Thread(target=ears.events, args=(child.stdout,)),
                   threading.Thread(target=ears.messages, args=(child.stderr,))]
        for thread in threads:
            thread.start()
        code = child.wait()
        for thread in threads:
            thread.join()
        last_word(ears, code)
    sys.exit(1 if code else 0)


if __name__ == "__main__":
    main()
