#!/usr/bin/python3
"""riverrun read on a text with 1 and 2 workers, in turn: tokens/s, checkpoint cost, peak memory.

    bench/read.py MODEL TEXT [RUNS] [-- OPTIONS OF READ...]

Prints a CSV row a run and the medians. tokens/s counts from start to exit, opening included."""
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.join(TOP, "build", "riverrun")


def read_once(model, text, threads, options):
    with tempfile.TemporaryDirectory() as out:
        begin = time.monotonic()
        run = subprocess.Popen([PROGRAM, "read", text, "--name", "text", "--model", model, "-o", out,
                                "--threads", str(threads), "--json", *options],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stdout, stderr = run.communicate()
        seconds = time.monotonic() - begin
        if run.returncode:
            sys.exit(stderr)
        tokens = int(re.search(r'"tokens": (\d+)', stdout).group(1))
        cost = re.search(r"(\d+) checkpoints took ([\d.]+) s of ([\d.]+) s", stderr)
        return tokens / seconds, int(cost.group(1)), float(cost.group(2)) / seconds * 100


def main():
    arguments = sys.argv[1:]
    options = []
    if "--" in arguments:
        options = arguments[arguments.index("--") + 1:]
        arguments = arguments[:arguments.index("--")]
    model, text = arguments[:2]
    runs = int(arguments[2]) if len(arguments) > 2 else 5
    rates = {1: [], 2: []}
    print("threads,tokens_per_s,checkpoints,checkpoint_percent")
    for _ in range(runs):
        for threads in rates:
            rate, count, cost = read_once(model, text, threads, options)
            rates[threads].append(rate)
            print(f"{threads},{rate:.0f},{count},{cost:.4f}", flush=True)
    for threads, values in rates.items():
        print(f"# median of {runs}, {threads} worker(s): {statistics.median(values):.0f} tokens/s")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"# peak resident memory of any run: {peak / 1024:.1f} MiB")


main()
