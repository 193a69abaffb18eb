#!/usr/bin/python3
"""The protocol, modelled in Promela (protocol/protocol.pml) and checked by spin in the configurations
below; the variants with a mistake must be refuted. protocol/README.md says what is modelled, and how far.

    test_protocol.py BUILD SHARED [--nightly] [CASE...]
"""
import os
import re
import shutil
import subprocess
import sys
import time

from e2e import Failed, Skip, check, main

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

    def __init__(self, place, name, *options):
        for tool in ("spin", "cc"):
            if not shutil.which(tool):
                raise Skip(f"{tool} is not there")
        self.folder = place.path(name)
        os.makedirs(self.folder)
        shutil.copy(MODEL, self.folder)
        self.make("spin", "-a", "protocol.pml")
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
        check(int(errors[1]) or ("Search not completed" not in said and "max search depth" not in said), said)
        return (wrong[1] if int(errors[1]) else ""), int(states[1])

    def counterexample(self, settings):
        return SPEAKERS.findall(self.pan(settings, "-r", "-n"))


def the_protocol_holds_in_every_state(place):
    verifier, total = Verifier(place, "states", "-O2", "-DSAFETY"), 0
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


CASES = (the_protocol_holds_in_every_state, every_run_ends, each_mistake_is_refuted)

if __name__ == "__main__":
    sys.exit(main(CASES))
