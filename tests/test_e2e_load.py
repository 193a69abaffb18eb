#!/usr/bin/python3
"""Followed streams under load: ten thousand of them in little memory, a line beside books, a log that does not
end, a start over a full store.

What a line waits for its record is told by the output file's own time of writing, so nothing here polls ten
thousand files; that a record is durable MAX_LATENCY / 2 after it was written at the latest is emit's part
(test_stages_emit). Figures are printed; bounds are those of the README."""
import json
import os
import random
import signal
import statistics
import sys
import time

from e2e import DEAR, STOPPED, Follow, check, main, memory_bytes, read, wait_for

# Of the README: anonymous memory beside the weights is at most this much, --state-memory, and this much a stream.
BASE_BYTES, STREAM_BYTES = 24 << 20, 16 << 10
STATE_MEMORY = 64 << 20
DELAY_S = 2.0  # from written to read and written again, when no more comes than the machine reads
LATE_S = 1.0   # allowed beside: other programs use the processors too


def log_text(rng, size):
    lines, length = [], 0
    while length < size:
        words = rng.choices(["GET", "POST", "/index", "200", "404", "user", "timeout", "retry", "ok", "disk"], k=rng.randint(3, 12))
        lines.append(f"{rng.randrange(10**6)} {' '.join(words)}\n".encode())
        length += len(lines[-1])
    return b"".join(lines)


def append(path, data):
    with open(path, "ab", buffering=0) as file:
        file.write(data)


class Feeds:
    """Log files of one folder, a run that follows them, and what it needed."""

    def __init__(self, place, name, count, *options):
        self.folder = place.path(name + "-logs")
        os.makedirs(self.folder)
        self.paths = [os.path.join(self.folder, f"{i:05d}.log") for i in range(count)]
        self.written = [b""] * count
        for path in self.paths:
            append(path, b"")
        self.job = Follow(place, name, self.folder, model_of(place),
                          ["--state-memory", str(STATE_MEMORY), "--alerts-per-1000", "0", *options])  # a record a line
        self.process, self.peak = None, 0

    def start(self):
        self.process = self.job.start()
        return self

    def look(self):
        """Peak of anonymous memory so far."""
        self.peak = max(self.peak, memory_bytes(self.process.pid))

    def write(self, i, data):
        self.written[i] += data
        append(self.paths[i], data)

    def output(self, i):
        name = os.path.realpath(self.paths[i])[1:].replace("/", "+")
        return os.path.join(self.job.output, name + ".jsonl")

    def lines(self):
        return sum(data.count(b"\n") for data in self.written)

    def records(self, i):
        return read(self.output(i)).count(b"\n") if os.path.exists(self.output(i)) else 0

    def wait_idle(self):
        """Until every stream is open and has read all."""
        total = len(self.paths)
        def there():
            self.look()
            answer = self.job.answer()
            return len(answer["streams"]) == total and all(one["state"] == "idle" for one in answer["streams"])
        wait_for(f"{total} streams at rest", there, 600)

    def wait_read(self):
        left = [i for i, data in enumerate(self.written) if data]
        def there():
            nonlocal left
            time.sleep(min(1, 0.1 + len(left) / 5000))  # looking takes time that the run needs
            self.look()
            left = [i for i in left if self.records(i) < self.written[i].count(b"\n")]
            return not left
        wait_for("every line to have its record", there, 3600)

    def latency(self, bounded=True):
        """What the run itself measured, in words; bounded: its records' 99 % are durable in time."""
        answer = self.job.answer()
        one = {name: value / 1e6 for name, value in answer["latency_us"].items()}
        check(DEAR > 1 or not bounded or one["record_p99"] <= DELAY_S + LATE_S, f"records: {one}")
        return (f"records durable after {one['record_p50']:.3f} s (99 % {one['record_p99']:.3f}, most {one['record_most']:.3f}); "
                f"{answer['latency_us']['checkpoints']} commits of {1000 * one['commit_p50']:.1f} ms (99 % {1000 * one['commit_p99']:.1f}), "
                f"{100 * answer['checkpoint_us'] / answer['run_us']:.2f} % of the run")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.job.place.end_of(self.process)
        check(status == STOPPED, f"exit status {status}: {self.job.place.said(self.process)}")

    def check_records(self, some):
        """Of some streams: each line has one record, in order, and tiles the source."""
        for i in some:
            at = 0
            for number, line in enumerate(read(self.output(i)).splitlines()):
                record = json.loads(line)
                check(record["seq"] == number and record["begin"] == at and record["kind"] == "line",
                      f"stream {i}: record {number}: {line!r}")
                at = record["end"]
            check(at == len(self.written[i]), f"stream {i}: {at} bytes of {len(self.written[i])}")


def model_of(place):
    """The tiny model where it is there, for the nightly figures; else the nano."""
    tiny = os.path.join(place.shared, "models/tiny-rwkv-7v0-834K-FP32.bin")
    return tiny if place.nightly and os.path.exists(tiny) else place.nano


def folder_bytes(path):
    return sum(os.stat(os.path.join(root, name)).st_blocks * 512 for root, _, names in os.walk(path) for name in names)


def one_stream_speed(place, size):
    """Bytes a second of one followed stream."""
    feeds = Feeds(place, "one", 1).start()
    feeds.wait_idle()
    begin = time.time()
    feeds.write(0, log_text(random.Random(place.seed), size))
    feeds.wait_read()
    took = os.stat(feeds.output(0)).st_mtime - begin
    feeds.stop()
    return size / took


def many_streams(place):
    """Every stream is open; 1 kB comes to each, in random order, as fast as it goes; then to each at a random time, at half
    that speed."""
    count, rng = 10000 if place.nightly else 400, random.Random(place.seed)
    alone = one_stream_speed(place, count * 1000)
    feeds = Feeds(place, "many", count).start()
    feeds.wait_idle()
    order = list(range(count))
    rng.shuffle(order)
    begin = time.time()
    for i in order:
        feeds.write(i, b"a first line\n")
    feeds.wait_read()
    births = count / (max(os.stat(feeds.output(i)).st_mtime for i in order) - begin)
    feeds.wait_idle()
    begin = time.time()
    for i in order:
        feeds.write(i, log_text(rng, 1000))
    feeds.wait_read()
    took = max(os.stat(feeds.output(i)).st_mtime for i in order) - begin
    speed = 1000 * count / took
    feeds.wait_idle()
    # Now at half that speed, in a run of its own: how long does a line wait?
    full = feeds.latency(bounded=False)
    feeds.stop()
    feeds.start().wait_idle()
    delays, pause = [], 1000 / (0.5 * min(speed, alone))
    when = {}
    rng.shuffle(order)
    start = time.time()
    for number, i in enumerate(order):
        late = start + number * pause - time.time()
        if late > 0:
            time.sleep(late)
        when[i] = time.time()
        feeds.write(i, log_text(rng, 1000))
        if number % 200 == 0:
            feeds.look()
    feeds.wait_read()
    # File times are those of the last tick of the clock, some milliseconds ago.
    delays = sorted(max(0, os.stat(feeds.output(i)).st_mtime - when[i]) for i in order)
    feeds.wait_idle()
    store, peak, latency = folder_bytes(feeds.job.store), feeds.peak, feeds.latency()
    feeds.stop()
    feeds.check_records(rng.sample(order, 50))
    bound = BASE_BYTES + STATE_MEMORY + count * STREAM_BYTES
    check(DEAR > 1 or peak <= bound, f"{peak} bytes of anonymous memory, {bound} are allowed")
    check(DEAR > 1 or delays[-1] <= DELAY_S + LATE_S, f"a line waited {delays[-1]:.2f} s")
    return (f"{count} streams: {births:.0f} begun a second; {speed / 1000:.1f} kB/s, {100 * speed / alone:.0f} % of one stream's {alone / 1000:.1f}; "
            f"delay median {statistics.median(delays):.3f} s, 99 % {delays[int(0.99 * len(delays))]:.3f}, most {delays[-1]:.3f}; "
            f"RssAnon {peak >> 10} kB of {bound >> 10}; store {store >> 10} kB; at full speed {full}; at half {latency}; {resume(feeds)}")


def resume(feeds):
    """A start over all of them: from the program's first instruction to the first new record."""
    job, times, rng = feeds.job, [], random.Random(feeds.job.place.seed)
    for _ in range(9 if feeds.job.place.nightly else 2):
        one = rng.randrange(len(feeds.paths))
        before = feeds.records(one)
        feeds.write(one, b"one more line\n")
        begin = time.monotonic()
        feeds.process = job.start()
        while feeds.records(one) == before:
            check(feeds.process.poll() is None, f"the run ended: {job.place.said(feeds.process)}")
            time.sleep(0.002)
        times.append(time.monotonic() - begin)
        feeds.wait_idle()
        feeds.stop()
    return f"start to first new record {1000 * statistics.median(times):.0f} ms (median of {len(times)}, model included)"


def a_line_beside_books(place):
    """Twenty books that were never read, and a log: its lines are not kept waiting."""
    rng = random.Random(place.seed)
    feeds = Feeds(place, "books", 21)
    for i in range(20):
        feeds.write(i, log_text(rng, 3000000 if place.nightly else 600000))
    feeds.start()
    wait_for("books to be read", lambda: feeds.records(3) > 50)
    delays = []
    for _ in range(20 if place.nightly else 8):
        before = feeds.records(20)
        when = time.time()
        feeds.write(20, b"something happened\n")
        wait_for("its record", lambda: feeds.records(20) > before)
        delays.append(os.stat(feeds.output(20)).st_mtime - when)
        check(feeds.records(0) < feeds.written[0].count(b"\n"), "the books were over too soon")
    latency = feeds.latency()
    feeds.stop()
    check(DEAR > 1 or max(delays) <= DELAY_S + LATE_S, f"a line waited {max(delays):.2f} s")
    return f"20 books at hand: a line waits {statistics.median(delays):.3f} s (median), {max(delays):.3f} at most; {latency}"


def endless_log(place):
    """Written as fast as it is read, for a while: memory, store, open files and delay stay what they were."""
    seconds, rng = 1800 if place.nightly else 180, random.Random(place.seed)
    feeds = Feeds(place, "endless", 1, "--checkpoint-seconds", "2").start()
    feeds.wait_idle()
    text = log_text(rng, 1 << 16)
    rows, begin, sent = [], time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        append(feeds.paths[0], text)
        sent += len(text)
        when, want = time.time(), sent
        def caught_up(want=want):
            return feeds.job.status()["bytes"] >= want - (1 << 17)
        wait_for("the reader", caught_up)
        if not rows or time.monotonic() - rows[-1][0] > seconds / 60:
            pid = feeds.process.pid
            rows.append((time.monotonic(), memory_bytes(pid), memory_bytes(pid, "VmRSS"), folder_bytes(feeds.job.store),
                         len(os.listdir(f"/proc/{pid}/fd")), time.time() - when))
    latency = feeds.latency(bounded=False)  # as much comes as is read: it waits for what was written before
    feeds.stop()
    first, last = rows[len(rows) // 6:len(rows) // 2], rows[len(rows) // 2:]
    said = []
    for at, name, unit, slack in ((1, "RssAnon", 1024, 1 << 20), (2, "RSS", 1024, 2 << 20), (3, "store", 1024, 1 << 20), (4, "files", 1, 2)):
        early, late = max(row[at] for row in first), max(row[at] for row in last)
        check(DEAR > 1 or late <= early + slack, f"{name} grew from {early} to {late}")
        said.append(f"{name} {early // unit} -> {late // unit}")
    early, late = (statistics.median(row[5] for row in rows) for rows in (first, last))
    check(DEAR > 1 or late <= 2 * early + LATE_S, f"delay grew from {early:.3f} to {late:.3f} s")
    return (f"{seconds} s, {sent / 1e6:.1f} MB, {sent / 1000 / seconds:.0f} kB/s: {', '.join(said)} (kB); "
            f"64 kB take {early:.3f} -> {late:.3f} s; {latency}")


if __name__ == "__main__":
    sys.exit(main([many_streams, a_line_beside_books, endless_log]))
