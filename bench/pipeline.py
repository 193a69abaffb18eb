#!/usr/bin/python3
"""`riverrun read` on a text against the bare engine (bench_read) on its tokens, in turn, by workers.

    bench/pipeline.py MODEL TEXT [--runs N] [--threads 1,2] [--vocab FILE] [--weights TYPE] [-- OPTIONS OF READ...]

Prints a CSV row a pair of runs and the medians. Both rates count from the start to the end, opening included;
the share is of the two runs of a pair."""
import argparse
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
ENGINE = os.path.join(TOP, "build", "bench", "bench_read")


def vocab_of(args):
    return ["--vocab", args.vocab] if args.vocab else []


def tokenize(args, out):
    """Into ids as `riverrun read` does it: by --vocab, else by what the model carries, else bytes."""
    carried = subprocess.run([PROGRAM, "tokenize", os.devnull, "--model", args.model], capture_output=True, check=False)
    own = [] if args.vocab or carried.returncode else ["--model", args.model]
    subprocess.run([PROGRAM, "tokenize", args.text, *vocab_of(args), *own], stdout=out, check=True)


def read_once(args, threads):
    """Seconds, checkpoints, their share of the run in percent."""
    with tempfile.TemporaryDirectory() as out:
        begin = time.monotonic()
        run = subprocess.run([PROGRAM, "read", args.text, "--name", "text", "--model", args.model, "-o", out, "--threads",
                              str(threads), "--weights", args.weights, *vocab_of(args), *args.options],
                             stderr=subprocess.PIPE, text=True, check=False)
        seconds = time.monotonic() - begin
        if run.returncode:
            sys.exit(run.stderr)
        cost = re.search(r"(\d+) checkpoints took ([\d.]+) s of ([\d.]+) s", run.stderr)
        return seconds, int(cost.group(1)), float(cost.group(2)) / seconds * 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--vocab", help="a file; default: the one that MODEL carries, else bytes")
    parser.add_argument("--weights", default="auto")
    parser.add_argument("options", nargs="*", help="of read, after --")
    args = parser.parse_args()
    with tempfile.NamedTemporaryFile() as ids:
        tokenize(args, ids)
        print("threads,read_tokens_per_s,engine_tokens_per_s,share,checkpoints,checkpoint_percent")
        for threads in args.threads.split(","):
            rows = []
            for _ in range(args.runs):
                seconds, count, cost = read_once(args, threads)
                tokens, alone, *_ = map(float, subprocess.check_output(
                    [ENGINE, args.model, ids.name, threads, args.weights], text=True).split())
                rows.append((tokens / seconds, tokens / alone, alone / seconds))
                print(f"{threads},{rows[-1][0]:.0f},{rows[-1][1]:.0f},{rows[-1][2]:.3f},{count},{cost:.4f}", flush=True)
            read, engine, share = (statistics.median(column) for column in zip(*rows))
            print(f"# medians of {args.runs}, {threads} worker(s): read {read:.0f}, engine {engine:.0f} tokens/s, "
                  f"share {share:.3f} (medians' {read / engine:.3f})")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"# peak resident memory of any run: {peak / 1024:.1f} MiB")


main()
