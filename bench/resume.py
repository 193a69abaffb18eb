#!/usr/bin/python3
"""Time from start to the first new record after a resume, at 10 % and at 90 % of a text.

    bench/resume.py MODEL TEXT [RUNS]

A run is stopped (SIGTERM, so that its last checkpoint is where it stopped) when its output has passed the
mark; then copies of what it left are resumed RUNS times (default 3), and the time until the output grows
beyond what was there is taken. The next record comes with the end of a paragraph, so this is done at seven
places within one per cent of each mark. After kill -9 the work since the last checkpoint,
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
NEAR = (-1, -0.7, -0.4, -0.1, 0.2, 0.5, 0.8)  # per cent: where a paragraph ends is chance


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


def stop_at(model, text, share, out, folder):
    """Let the job in out go on to share per cent, stop it there; a copy of what it left."""
    run = start(model, text, out)
    mark = os.path.getsize(text) * share / 100
    while last_end(os.path.join(out, "text.jsonl")) < mark and run.poll() is None:
        time.sleep(0.05)
    run.terminate()
    run.wait()
    left = os.path.join(folder, f"at-{share}")
    shutil.copytree(out, left, ignore=shutil.ignore_patterns("control"))
    return left


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
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    times = {10: [], 90: []}
    with tempfile.TemporaryDirectory() as folder:
        left = {share: [stop_at(model, text, share + near, os.path.join(folder, "out"), folder)
                        for near in NEAR] for share in times}
        for _ in range(runs):
            for place in range(len(NEAR)):
                for share in times:
                    times[share].append(resume_ms(model, text, left[share][place], folder))
    for share, ms in times.items():
        print(f"{share} %: median {statistics.median(ms):.0f} ms of", " ".join(f"{t:.0f}" for t in ms))
    a, b = statistics.median(times[10]), statistics.median(times[90])
    print(f"difference {abs(a - b) / min(a, b) * 100:.1f} %")


main()
