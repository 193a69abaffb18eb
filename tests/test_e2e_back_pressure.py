#!/usr/bin/python3
"""A sink that stands still stops the flow and costs no memory: emit is stopped by SIGSTOP, the other
stages fill their windows and wait, and go on to the same bytes when it is let go.

The bound on what each stage may hold more than before, in bytes of anonymous memory:

    ingest    a link's window, and a read that waits for room
    tokenize  a link's window each way: bytes not yet tokens, tokens (8 bytes and the text of each, so
              ten times their text) not yet sent
    encode    the record window, kept in a buffer that doubles; a link's window of records not yet
              taken; the granted source as tokens

and SLACK for what malloc keeps between them."""
import signal
import sys
import time

from e2e import DEAR, STAGES, Job, Pipe, check, cpu_s, generated_text, main, memory_bytes, same, wait_for

MIB = 1 << 20
LINK_WINDOW, RECORD_WINDOW, GRANTED, SLACK = MIB, 4 * MIB, MIB, 2 * MIB  # pipeline/link.h, settings.c
BOUND = {"ingest": LINK_WINDOW + SLACK, "tokenize": 2 * LINK_WINDOW + 10 * GRANTED // 16 + SLACK,
         "encode": 2 * RECORD_WINDOW + LINK_WINDOW + 10 * GRANTED // 16 + SLACK}


def many_records(seed, lines):
    """Short lines, so that records are many times the text."""
    words = generated_text(seed, 2000).split()
    return b"".join(words[i * i % len(words)][:3] + b"\n" for i in range(lines))


def emit_stands_still(place):
    lines, still_s = 100000, 20 if place.nightly else 5
    options = ["--unit", "line", "--checkpoint-every", "1000000"]
    source = place.text("text.txt", many_records(place.seed, lines))
    want = Job(place, "undisturbed", source, options=options)
    want.run()
    job = Job(place, "stopped", source, options=options)
    pipe = Pipe(job).start()
    others = [stage for stage in STAGES if stage != "emit"]
    check(job.wait_tokens(pipe.running["encode"], lines // 4), "ended too early")
    pid = {stage: pipe.running[stage].pid for stage in STAGES}
    before = {stage: memory_bytes(pid[stage]) for stage in others}
    pipe.running["emit"].send_signal(signal.SIGSTOP)
    last, peak = [0.0, -1], dict(before)

    def look():
        for stage in others:
            peak[stage] = max(peak[stage], memory_bytes(pid[stage]))

    def at_rest():
        """No token more for a second: the windows are full."""
        look()
        computed = job.status()["computed"]
        if computed != last[1]:
            last[:] = [time.monotonic(), computed]
        return time.monotonic() - last[0] > 1

    wait_for("the flow to stop", at_rest)
    check(last[1] < job.status()["bytes_total"], "all was read before the windows were full")
    used, begin = {stage: cpu_s(pid[stage]) for stage in others}, time.monotonic()
    while time.monotonic() - begin < still_s:
        look()
        time.sleep(0.1)
    share = {stage: 100 * (cpu_s(pid[stage]) - used[stage]) / (time.monotonic() - begin) for stage in others}
    check(job.status()["computed"] == last[1], "it read on though nothing was taken")
    pipe.running["emit"].send_signal(signal.SIGCONT)
    pipe.end()
    same(job, want.records(), "emit stopped and let go")
    told = ", ".join(f"{stage} +{(peak[stage] - before[stage]) / MIB:.2f} of {BOUND[stage] / MIB:.2f} MiB, "
                     f"{share[stage]:.2f} % CPU" for stage in others)
    for stage in others:
        check(DEAR > 1 or peak[stage] - before[stage] <= BOUND[stage], f"{stage} grew beyond its windows: {told}")
        check(share[stage] < (1 if place.nightly else 10), f"{stage} does not rest: {told}")
    return f"still for {still_s} s: {told}"


CASES = (emit_stands_still,)

if __name__ == "__main__":
    sys.exit(main(CASES))
