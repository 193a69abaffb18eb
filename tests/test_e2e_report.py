#!/usr/bin/python3
"""The page that `riverrun read` leaves and `riverrun report` makes: it stands by itself, hostile text stays text, and
it is the same after a kill -9 and a resume."""
import html.parser
import json
import os
import random
import re
import signal
import subprocess
import sys

import e2e
from e2e import Follow, Job, check, read, wait_for, write

VOID = {"meta", "br", "hr", "link", "img", "input"}
MOST_BYTES = 3_000_000  # of the page of War and Peace
HOSTILE = [b"<script>alert(1)</script> <img src=x onerror=alert(2)>", b"</blockquote></li></ol></section>",
           b"\xff\xfe no UTF-8 \xe2\x82", b"\x1b[31mred\x07\x01 controls", "\u202eright to left\u2066".encode(),
           b"\"quoted\" 'single' &amp; &#60;b&#62;", b"]]> --> <!-- <![CDATA[", b"w" * 4000,
           b"https://example.org/x.js?a=1&b=2"]


class Page(html.parser.HTMLParser):
    """Every tag is closed in order; nothing is run and nothing is fetched."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.text, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()
        check(not self.open, f"never closed: {self.open}")
        check(len(self.ids) == len(set(self.ids)), "an id stands twice")
        missing = [link for link in self.links if link[1:] not in self.ids]
        check(not missing, f"links to nothing: {missing[:3]}")
        self.said = " ".join("".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.attributes(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes(tag, attrs)

    def attributes(self, tag, attrs):
        self.tags.append(tag)
        check(tag not in ("script", "link", "iframe", "img", "object", "embed", "base", "form"), f"<{tag}>")
        for name, value in attrs:
            check(not name.startswith("on"), f"<{tag} {name}>")
            check("://" not in (value or "") or name == "aria-label", f"<{tag} {name}={value!r}>")
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                check(value.startswith("#"), f"<{tag} {name}={value!r}>")
                self.links.append(value)

    def handle_endtag(self, tag):
        check(self.open and self.open[-1] == tag, f"</{tag}> where {self.open[-3:]} are open")
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            check("url(" not in data and "@import" not in data, "the style fetches something")
        else:
            self.text.append(data)


def page_path(job):
    return os.path.join(job.output, "report.html")


def page(job):
    data = read(page_path(job))
    check(len(data) < MOST_BYTES, f"{len(data)} bytes of page")
    return Page(data.decode())


def call(place, *arguments, want=0):
    done = subprocess.run([place.riverrun, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=e2e.HANG_S, check=False)
    check(done.returncode == want, f"{arguments}: exit status {done.returncode}: {done.stderr.decode()}")
    return done.stdout.decode(), done.stderr.decode()


def hostile_text(seed):
    rng, parts = random.Random(seed), []
    for number in range(300):
        parts.append(rng.choice(HOSTILE) if number % 9 == 4 else
                     " ".join(rng.choices(e2e.WORDS, k=rng.randint(3, 40))).encode())
    return b"\n\n".join(parts) + b"\n"


def read_leaves_a_page(place):
    """Of several documents, by paragraph and by line, hostile text in them."""
    inputs = [place.text("<b>&.txt", hostile_text(place.seed)), place.text("a \u202e b.txt", hostile_text(2)),
              place.text("empty.txt", b"")]
    for unit in ("paragraph", "line"):
        job = Job(place, unit, inputs, options=["--unit", unit])
        job.run()
        got = page(job)
        check("3 documents" in got.said and "bits per byte" in got.said, got.said[:200])
        check("<b>&.txt" in got.said and "alert(1)" in got.said, "hostile text is not shown as text")
        check(not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f-\x9f]", got.said), "controls in the page")
        check({"figure", "svg", "table", "ol", "blockquote"} <= set(got.tags), f"{set(got.tags)}")
        before = read(page_path(job))
        said, _ = call(place, "report", job.output)
        check("3 documents" in said, said)
        check(read(page_path(job)) == before, "made anew it is another page")
        said, beside = call(place, "report", job.output, "-o", "-")
        check(said.encode() == before and "3 documents" in beside and not os.path.exists("-"), f"to standard output: {beside}")
        job.run()  # finished: nothing to do
        check(read(page_path(job)) == before, "a finished job's page changed")
    return f"{len(before)} bytes"


def a_kill_does_not_show(place):
    """kill -9 in the midst of a reading, and a page from what is there; resumed, the undisturbed page."""
    source = place.text("text.txt", e2e.generated_text(place.seed, 60_000))
    options = ["--checkpoint-every", "4000", "--threads", "1"]
    whole = Job(place, "whole", source, options=options)
    whole.run()
    job = Job(place, "killed", source, options=options)
    for tokens in (8_000, 24_000, 40_000):
        process = job.start()
        job.wait_tokens(process, tokens)
        job.kill(process)
        if any(job.records().values()):
            call(place, "report", job.output)
            page(job)
    check(job.kills, "it was never killed")
    job.run()
    check(read(page_path(job)) == read(page_path(whole)), "the page is not that of an undisturbed run")
    check(job.records() == whole.records(), "nor are the records")
    check(sorted(os.listdir(job.output)) == sorted(os.listdir(whole.output)), f"{os.listdir(job.output)}")
    return f"{job.kills} kills"


def a_stop_leaves_a_page_too(place):
    job = Job(place, "stopped", place.text("text.txt", e2e.generated_text(1, 2_000_000)))
    process = job.start()
    check(job.wait_tokens(process, 2_000), "it ended too early")
    process.send_signal(signal.SIGTERM)
    check(place.end_of(process) == e2e.STOPPED, "not stopped")
    check("not read to its end yet" in page(job).said, "the page does not say that more is to come")


def a_torn_record_is_said(place):
    job = Job(place, "torn", place.text("text.txt", e2e.generated_text(1, 20_000)))
    job.run()
    name, data = next(iter(job.records().items()))
    path = os.path.join(job.output, name)
    write(path, data[:-40])
    call(place, "report", job.output)
    check("torn" in page(job).said, "not said")
    lines = data.split(b"\n")
    write(path, b"\n".join(lines[:3] + [lines[3][:-7]] + lines[4:]))
    before = read(page_path(job))
    _, said = call(place, "report", job.output, want=14)
    check(f"{name}', line 4: is no JSON object" in said and said.count("\n") == 1, said)
    check(read(page_path(job)) == before, "the page that was there is gone")


def only_where_it_is_wanted(place):
    source = place.text("text.txt", e2e.generated_text(1, 5_000))
    job = Job(place, "none", source, options=["--no-report"])
    job.run()
    check(not os.path.exists(page_path(job)), "--no-report")
    job = Job(place, "stdout", source, options=["--sink", "stdout"])
    job.run()
    check(not os.path.exists(page_path(job)), "--sink stdout")
    follow = Follow(place, "follow", source)
    process = follow.start()
    wait_for("a record", lambda: os.path.isdir(follow.output) and any(follow.records().values()))
    process.send_signal(signal.SIGTERM)
    check(place.end_of(process) == e2e.STOPPED, "not stopped")
    check(not os.path.exists(page_path(follow)), "follow")
    call(place, "report", follow.output, "-o", place.path("elsewhere.html"))
    check("lines" in Page(read(place.path("elsewhere.html")).decode()).said, "of a followed file")


def what_cannot_be_made_is_a_warning(place):
    """The run has done its work: its status stays, and so does what is no page of ours."""
    source = place.text("text.txt", e2e.generated_text(1, 5_000))
    job = Job(place, "job", source)
    os.mkdir(job.output)
    write(page_path(job), b"<p>my own page")
    process = job.start()
    check(place.end_of(process) == 0, place.said(process))
    check("warning: no report: " in place.said(process) and "is no report" in place.said(process), place.said(process))
    check(read(page_path(job)) == b"<p>my own page", "somebody's page was written over")
    os.remove(page_path(job))
    os.mkdir(page_path(job))
    process = job.start()
    check(place.end_of(process) == 0, place.said(process))
    check(place.said(process).count("warning: no report: ") == 1, place.said(process))


def nobody_takes_it_for_an_output(place):
    os.mkdir(place.path("in"))
    source = place.text("in/text.txt", e2e.generated_text(1, 5_000))
    job = Job(place, "in/out", os.path.dirname(source))  # the output lies in the folder that is read
    job.run()
    before = read(page_path(job))
    said, _ = call(place, "verify", "-o", job.output)
    check("all is well" in said, said)
    call(place, "gc", "-o", job.output)
    check(read(page_path(job)) == before, "gc touched it")
    job.run()
    check(len(job.records()) == 1 and read(page_path(job)) == before, "it was read as a text")


def war_and_peace_is_small(place):
    """As many records as War and Peace has paragraphs, and a job of 2,000 streams."""
    folder = place.path("big")
    os.mkdir(folder)
    rng, begin, lines = random.Random(place.seed), 0, []
    for seq in range(11_864):
        size = int(min(6000, 20 + rng.lognormvariate(5, 1)))
        bits = size * rng.gauss(3, 0.3) + (size * 6 if rng.random() < 0.01 else 0)
        text = " ".join(rng.choices(e2e.WORDS, k=30)).encode()[:160].decode(errors="ignore")
        lines.append(json.dumps({"stream": "book", "seq": seq, "kind": "paragraph", "begin": begin, "end": begin + size,
                                 "tokens": size, "nats": abs(bits) * 0.6931, "bits_per_byte": abs(bits) / size,
                                 "text": text}))
        begin += size
    write(os.path.join(folder, "book.jsonl"), "\n".join(lines).encode() + b"\n")
    call(place, "report", folder)
    sizes = [os.path.getsize(os.path.join(folder, "report.html"))]
    Page(read(os.path.join(folder, "report.html")).decode())
    for number in range(2_000):
        some = [line.replace(f'"seq": {number + at},', f'"seq": {at},', 1)
                for at, line in enumerate(lines[number:number + 9])]
        write(os.path.join(folder, f"s{number}.jsonl"), "\n".join(some).encode() + b"\n")
    said, _ = call(place, "report", folder, "--json")
    check(json.loads(said)["documents"] == 2_001, said)
    sizes.append(os.path.getsize(os.path.join(folder, "report.html")))
    Page(read(os.path.join(folder, "report.html")).decode())
    check(max(sizes) < MOST_BYTES, f"{sizes}")
    return f"{sizes} bytes"


if __name__ == "__main__":
    sys.exit(e2e.main([read_leaves_a_page, a_kill_does_not_show, a_stop_leaves_a_page_too, a_torn_record_is_said,
                       only_where_it_is_wanted, what_cannot_be_made_is_a_warning, nobody_takes_it_for_an_output,
                       war_and_peace_is_small]))
