#!/usr/bin/python3
"""Time from start to the first new record after a resume, at 10 % and at 90 % of a text.

    bench/resume.py MODEL TEXT [RUNS]

A run is stopped (SIGTERM, so that its last checkpoint is where it stopped) when its output has passed the
mark; then copies of what it left are resumed RUNS times (default 7) at each mark, in turn, and the time
until the output grows beyond what was there is taken. After kill -9 the work since the last checkpoint,
at most its interval, comes on top, wherever in the text that is.
Prints each time in milliseconds, the medians, and how far they differ."""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.join(TOP, "build", "riverrun")


def start(model, text, out):
    return subprocess.Popen([PROGRAM, "read", text, "--name", "text", "--model", model, "-o", out,
                             "-q", "--checkpoint-seconds", "1"])


def last_end(path):
    """The offset up to which the records in path reach."""
    import json
    try:
        lines = open(path, "rb").read().splitlines()
        return json.loads(lines[-1])["end"]
    except (OSError, IndexError, ValueError):
        return 0


def left_at(model, text, share, folder):
    out = os.path.join(folder, f"at-{share}")
    run = start(model, text, out)
    mark = os.path.getsize(text) * share / 100
    while last_end(os.path.join(out, "text.jsonl")) < mark and run.poll() is None:
        time.sleep(0.1)
    run.terminate()
    run.wait()
    return out


def resume_ms(model, text, left, folder):
    out = os.path.join(folder, "resumed")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(left, out, ignore=shutil.ignore_patterns("control"))
    path = os.path.join(out, "text.jsonl")
    before = os.path.getsize(path)
    begin = time.monotonic()
    run = start(model, text, out)
    while os.path.getsize(path) <= before:
        time.sleep(0.0005)
    ms = (time.monotonic() - begin) * 1000
    run.kill()
    run.wait()
    return ms


def main():
    model, text = sys.argv[1:3]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    with tempfile.TemporaryDirectory() as folder:
        left = {share: left_at(model, text, share, folder) for share in (10, 90)}
        times = {10: [], 90: []}
        for _ in range(runs):
            for share in times:
                times[share].append(resume_ms(model, text, left[share], folder))
    for share, ms in times.items():
        print(f"{share} %: median {statistics.median(ms):.0f} ms of", " ".join(f"{t:.0f}" for t in ms))
    a, b = statistics.median(times[10]), statistics.median(times[90])
    print(f"difference {abs(a - b) / min(a, b) * 100:.1f} %")


main()
