#!/usr/bin/python3
"""The protocol, modelled in Promela (protocol/protocol.pml) and checked by spin in the configurations
below; the variants with a mistake must be refuted. protocol/README.md says what is modelled, and how far.

    test_protocol.py BUILD SHARED [--nightly] [CASE...]
"""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

from e2e import Failed, Job, Skip, check, main, same, undisturbed

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "protocol", "protocol.pml")
MEMORY_MB = 3500
SPEAKERS = re.compile(r"^\s*((?:ingest|tokenize|encode|store|emit|syncer|World):.*)$", re.MULTILINE)

INGEST, TOKENIZE, ENCODE, EMIT, LINKS, MACHINE, VALUE, STOP = (1 << i for i in range(8))
BELOW = ENCODE | EMIT | LINKS | MACHINE

# What is checked: name, settings (protocol.pml has the others). Each fault may come at any step.
CONFIGURATIONS = (
    ("a fault of any kind", {"TOKENS": 2, "FAULTS": 1}),
    ("a fault and an fsync that fails", {"TOKENS": 2, "FAULTS": 1, "FSYNC_FAILS": 1, "DEATHS": BELOW}),
    ("two pauses, long messages", {"TOKENS": 3, "PAUSES": 2, "MESSAGE_MOST": 3, "WINDOW": 3}),
    ("a pause and a fault", {"TOKENS": 2, "FAULTS": 1, "PAUSES": 1, "MESSAGE_MOST": 1,
                             "DEATHS": ENCODE | EMIT | MACHINE}),
    ("--restart and a fault of any kind", {"TOKENS": 1, "FAULTS": 1, "RESTARTS": 1}),
    ("two faults", {"TOKENS": 1, "FAULTS": 2, "DEATHS": BELOW}),
)
NIGHTLY = (
    ("a fault of any kind, 3 tokens", {"TOKENS": 3, "FAULTS": 1}),
    ("two faults of any kind", {"TOKENS": 1, "FAULTS": 2}),
)
MISTAKES = (
    ("commit_before_durable", {"MISTAKE": 1, "TOKENS": 2}),
    ("cursor_late", {"MISTAKE": 2, "TOKENS": 2}),
    ("watermark", {"MISTAKE": 3, "TOKENS": 1, "FAULTS": 1, "DEATHS": EMIT}),
    ("not_written_again", {"MISTAKE": 4, "TOKENS": 1, "FAULTS": 1, "FSYNC_FAILS": 1, "DEATHS": EMIT}),
    ("skip_forgotten", {"MISTAKE": 5, "TOKENS": 3, "PAUSES": 2, "MESSAGE_MOST": 3, "WINDOW": 3}),
)


class Verifier:
    """Spin's program for the model: what is checked is told to it when it runs."""

    def __init__(self, place, name, *options, define=()):
        for tool in ("spin", "cc"):
            if not shutil.which(tool):
                raise Skip(f"{tool} is not there")
        self.folder = place.path(name)
        os.makedirs(self.folder)
        shutil.copy(MODEL, self.folder)
        self.make("spin", *define, "-a", "protocol.pml")
        self.make("cc", f"-DMEMLIM={MEMORY_MB}", *options, "-o", "pan", "pan.c")

    def make(self, *command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        check(done.returncode == 0 and "Error" not in done.stdout, f"{command[0]}: {done.stdout}{done.stderr}")

    def pan(self, settings, *options):
        environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
        done = subprocess.run(["./pan", *options], cwd=self.folder, env=environment, capture_output=True, text=True,
                              check=False)
        return done.stdout + done.stderr

    def search(self, settings, *options):
        """Every state; returns what is wrong or "", and the number of states."""
        said = self.pan(settings, "-m1000000", "-w24", *options)
        errors, states = re.search(r"errors: (\d+)", said), re.search(r"(\d+) states, stored", said)
        check(errors and states, f"pan: {said}")
        wrong = re.search(r"pan:\d+: (.*) \(at depth", said)
        check(int(errors[1]) or "-E" in options or ("Search not completed" not in said and "max search depth" not in said), said)
        return (wrong[1] if int(errors[1]) else ""), int(states[1])

    def counterexample(self, settings):
        return SPEAKERS.findall(self.pan(settings, "-r", "-n"))


def the_protocol_holds_in_every_state(place):
    smaller = ["-DCOLLAPSE"] if place.nightly else []  # states take half the memory and more time
    verifier, total = Verifier(place, "states", "-O2", "-DSAFETY", *smaller), 0
    for name, settings in CONFIGURATIONS + (NIGHTLY if place.nightly else ()):
        begin = time.monotonic()
        wrong, states = verifier.search(settings)
        if wrong:
            raise Failed("\n    ".join([name, *verifier.counterexample(settings), wrong]))
        print(f"    {name}: {states} states, {time.monotonic() - begin:.1f} s", flush=True)
        total += states
    return f"{total} states"


def every_run_ends(place):
    """There is no run without end, so each is at its end where nothing can be done any more; and there, as
    the search above has found, all is finished. No fairness is asked for."""
    verifier, total = Verifier(place, "cycles", "-O0", "-DNP"), 0
    for settings in ({"TOKENS": 1, "FAULTS": 1}, {"TOKENS": 1, "FSYNC_FAILS": 1, "PAUSES": 1}):
        wrong, states = verifier.search(settings, "-l")
        check(not wrong, f"{settings}: {wrong}")
        total += states
    return f"{total} states"


def each_mistake_is_refuted(place):
    verifier = Verifier(place, "mistakes", "-O0", "-DSAFETY", "-DREACH")
    for mistake, settings in MISTAKES:
        wrong, _ = verifier.search(settings, "-i")  # and a short counterexample
        check(wrong, f"{mistake} is not refuted: the model would not see it in the code either")
        print(f"    {mistake}: {wrong}", *verifier.counterexample(settings), sep="\n        ", flush=True)
    return f"{len(MISTAKES)} mistakes"


# ---- Traces of the code ----

# The steps of schemas/step.h that the model has, numbered as in protocol.pml; those in PLAIN have no number there.
STEPS = ("died", "store_epoch_raised", "store_commit_end", "ingest_opened", "ingest_read", "tokenize_opened",
         "tokenize_tokens", "encode_opened", "encode_accepted", "encode_submit", "encode_captured", "encode_sync",
         "encode_durable", "encode_committed", "encode_sink_opened", "emit_opened", "emit_record", "emit_fsync_end",
         "emit_durable")
PLAIN = {"store_commit_end", "ingest_opened", "ingest_read", "tokenize_opened", "encode_opened"}
TEXT = b"a\nb\nc\n"
AS_TRACED = {"TOKENS": len(TEXT), "MESSAGE_MOST": len(TEXT), "WINDOW": 100, "JOBS": 20, "RECORD_WINDOW": 50, "ROOM": 10}
TRACE_MOST = 250  # of protocol.pml


def projected(trace):
    """What the model knows of a trace: (step, number), with ("died", 0) where another process goes on."""
    steps, process = [], None
    for line in trace:
        pid, name, _, number = line.split()
        if process and pid != process:
            steps.append(("died", 0))
        owned = pid == process and owned
        process = pid
        if name == "store_commit_end" and not owned:
            owned = True  # that of the owner epoch, which has a step of its own
        elif name in STEPS:
            steps.append((name, 0 if name in PLAIN else int(number)))
    return steps


def replays(verifier, steps):
    """True where the model can take exactly these steps."""
    check(0 < len(steps) <= TRACE_MOST, f"a trace of {len(steps)} steps")
    path = os.path.join(verifier.folder, "trace")
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f"{STEPS.index(name)} {number}\n" for name, number in steps)
    wrong, _ = verifier.search({**AS_TRACED, "TRACE": path}, "-E")
    check(not wrong or "!(over)" in wrong, f"{wrong}: {steps}")
    return bool(wrong)


def traced(place, job, crashes, mistake=""):
    """The trace of a job that is killed at these steps and then left to its end."""
    path = job.output + ".trace"
    words = {"RIVERRUN_TRACE": path, "RIVERRUN_MISTAKE": mistake}
    os.environ.update(words)
    killed = sum(job.run(program=place.steps, crash=crash, want=(0, -signal.SIGKILL)) != 0 for crash in crashes)
    job.run(program=place.steps)
    for word in words:
        del os.environ[word]
    with open(path, encoding="ascii") as file:
        return file.read().splitlines(), killed


def tampered(steps):
    """Traces that nothing has left: two steps swapped, one left out, one with another number."""
    records = [i for i, (name, _) in enumerate(steps) if name == "emit_record"]
    first, second = next((i, j) for i, j in zip(records, records[1:])
                         if ("died", 0) not in steps[i:j] and steps[i][1] != steps[j][1])
    swapped = list(steps)
    swapped[first], swapped[second] = steps[second], steps[first]
    commit = max(i for i, (name, _) in enumerate(steps) if name == "store_commit_end")
    durable = max(i for i, (name, _) in enumerate(steps) if name == "emit_durable")
    other = list(steps)
    other[durable] = ("emit_durable", steps[durable][1] + 1)
    return swapped, steps[:commit] + steps[commit + 1:], other


def traces_of_the_code_replay(place):
    """Real runs, killed at random steps and run again, are runs of the model; tampered ones are none, nor is a
    run of the code with a mistake."""
    verifier = Verifier(place, "traces", "-O0", "-DSAFETY", define=["-DTRACE", "-DSTORE_KEEP=3"])
    rng, source = random.Random(place.seed), place.text("text.txt", TEXT)
    options = ["--unit", "line", "--analyze", "surprise", "--read-bytes", "2", "--checkpoint-seconds", "0.05", "--checkpoint-every", "1"]
    want = undisturbed(place, "undisturbed", source, options=options).records()
    names = [*STEPS[1:], "encode_commit", "emit_compared", "emit_fsync_begin", "store_commit_begin"]
    kills, lengths = 0, []
    for i in range(40 if place.nightly else 12):
        job = Job(place, f"job{i}", source, options=options)
        crashes = [f"{rng.choice(names)}:{rng.choice((1, 1, 2, 3))}" for _ in range(3)]
        trace, killed = traced(place, job, crashes)
        same(job, want, f"killed at {crashes}")
        steps = projected(trace)
        check(replays(verifier, steps), f"the model cannot do what the code did (killed at {crashes}): {steps}")
        for wrong in tampered(steps):
            check(not replays(verifier, wrong), f"the model does what nobody did: {wrong}")
        kills, lengths = kills + killed, lengths + [len(steps)]
    job = Job(place, "mistaken", source, options=options)
    trace, _ = traced(place, job, [], mistake="commit_before_durable")
    check(not replays(verifier, projected(trace)), "the model does what the mistaken code did")
    return f"{len(lengths)} traces of {min(lengths)} to {max(lengths)} steps, {kills} kills"


CASES = (the_protocol_holds_in_every_state, every_run_ends, each_mistake_is_refuted, traces_of_the_code_replay)

if __name__ == "__main__":
    sys.exit(main(CASES))
