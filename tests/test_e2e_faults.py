#!/usr/bin/python3
"""Nothing lost, nothing twice: hundreds of faults of all kinds (e2e_faults.KINDS), several at a time, and every
output is byte for byte that of an undisturbed run.

All that is random comes from --seed and the number of the front (e2e_fronts.py); a failure prints both and what had
happened in the round.
"""
import os
import platform
import sys
import time

import e2e
from e2e import Failed
from e2e_faults import Tally
from e2e_fronts import FourProcesses, OneProcess
from e2e_logs import GrowingLogs

QUOTA = {"one process": (90, 900), "four processes": (70, 700), "growing logs": (60, 600)}
FRONTS = 6  # of each kind
total = Tally()


def fronts(place, cls, kind, program=None, mistake=None):
    tally, quota = Tally(), QUOTA[kind][place.nightly] // FRONTS + 1
    for number in range(FRONTS):
        tally.add(cls(place, kind, number, program, mistake).fight(quota))
    total.add(tally)
    return "\n    ".join(tally.lines())


def one_process(place):
    return fronts(place, OneProcess, "one process")


def four_processes(place):
    return fronts(place, FourProcesses, "four processes")


def growing_logs(place):
    return fronts(place, GrowingLogs, "growing logs")


MISTAKES = ("commit_before_durable", "cursor_late", "watermark")


def mistakes_are_caught(place):
    """The driver would notice: each of the mistakes that the protocol's model refutes, made by the test build, is
    found by the faults of the default suite, and the test build without them is not."""
    quota, said = sum(by_day for by_day, _ in QUOTA.values()), []
    OneProcess(place, "no mistake", 0, place.steps).fight(QUOTA["one process"][0] // FRONTS)
    for mistake in MISTAKES:
        spent = number = 0
        while spent < quota:
            front = OneProcess(place, mistake.replace("_", " "), number, place.steps, mistake)
            number += 1
            try:
                spent += front.fight(quota // FRONTS).total()
            except Failed as why:
                spent += front.tally.total()
                said.append(f"{mistake}: after {spent} faults: {str(why).splitlines()[0][:160]}")
                break
        else:
            raise Failed(f"{mistake} was not noticed in {spent} faults")
    return "\n    ".join(["", *said])


CASES = (one_process, four_processes, growing_logs, mistakes_are_caught)

def report(seconds, code):
    """What happened, over all cases; too little is a failure where all of them ran and none had failed."""
    print("\n".join(total.lines()))
    print(f"  {seconds:.0f} s on {os.cpu_count()} {platform.machine()} cores, {time.strftime('%Y-%m-%d')}")
    if code or len([word for word in sys.argv[3:] if not word.startswith("--")]) > ("--seed" in sys.argv):
        return code
    least = 2000 if "--nightly" in sys.argv else 200
    if total.total() < least or len(total.faults) < 10 or total.streams < 20:
        print(f"FAILED: less than {least} faults of 10 kinds over 20 streams")
        return 1
    return code


if __name__ == "__main__":
    begin = time.monotonic()
    code = e2e.main(CASES)
    sys.exit(report(time.monotonic() - begin, code))
