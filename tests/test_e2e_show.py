#!/usr/bin/python3
"""`riverrun show`: a stream's text as it was read, coloured or plain; its summary; its key passages."""
import json
import os
import subprocess
import sys

import e2e
from e2e import Job, check, generated_text, read

USAGE, ABSENT, NO_SOURCE = 2, 7, 10
TEXT = ("The copper mine above the town was opened in 1820. Nobody knew then how much copper there was.\n\n"
        "In 1850 the copper mine had a railway. The railway took copper to the harbour, and food to the mine.\n\n"
        "A storm in 1871 broke the harbour. The mine was closed, and the railway with it.\n\n") * 4


def show(place, job, *words, status=0, environment=None):
    done = subprocess.run([os.path.join(place.build, "riverrun"), "show", "book", "-o", job.output, *words],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=e2e.HANG_S,
                          env={**os.environ, "COLORTERM": "", "TERM": "xterm", "NO_COLOR": "", **(environment or {})})
    check(done.returncode == status, f"show {words}: status {done.returncode}: {done.stderr}")
    check(done.stderr.count(b"\n") == (status != 0), f"show {words}: {done.stderr}")
    return done.stdout


def text_is_shown_as_it_was_read(place):
    source = place.text("book.txt", TEXT.encode() + generated_text(place.seed, 60000) + b"\x1b[31m\xff no text\n")
    job = Job(place, "out", source, place.of_shared("models/tiny-rwkv-7v0-834K-FP32.bin"), ["--name", "book"])
    job.run()
    records = [json.loads(line) for line in read(os.path.join(job.output, "book.jsonl")).splitlines()]
    check(show(place, job) == read(source), "plain text is not the source")
    check(any((record.get("surprise") or 0) > 1 for record in records), "nothing surprises")
    coloured = show(place, job, "--color", "always")
    check(b"\x1b[38;5;" in coloured and b"\x1b[31m" not in coloured, "256 colours, and no colour of the text's own")
    check(b"\x1b[38;2;255;" in show(place, job, "--color", "always", environment={"COLORTERM": "truecolor"}), "truecolor")
    lines = [json.loads(line) for line in show(place, job, "--json").splitlines()]
    check(lines == [record for record in records if record["kind"] == "paragraph"], "JSON is the records")
    (summary,) = [record for record in records if record["kind"] == "summary"]
    said = show(place, job, "--summary", "--sentences", "2").decode()
    best = sorted(summary["sentences"][:2], key=lambda sentence: sentence["begin"])
    check(said.split("\n")[:2] == [sentence["text"] for sentence in best], said)
    check("about: " + summary["phrases"][0]["text"] in said, said)
    key = show(place, job, "--key").decode(errors="replace")
    passage = summary["passages"][0]
    text = read(source)[passage["begin"]:passage["end"]].decode(errors="replace").strip()
    check(f"bytes {passage['begin']} to {passage['end']}\n" in key and text in key, key)
    return f"{len(records)} records, {len(summary['sentences'])} sentences"


def what_is_not_there_is_said(place):
    source = place.text("book.txt", TEXT.encode())
    job = Job(place, "out", source, options=["--name", "book", "--analyze", "surprise"])
    job.run()
    show(place, job, "--summary", status=ABSENT)
    show(place, job, "--key", status=ABSENT)
    show(place, job, "--summary", "--key", status=USAGE)
    show(place, job, "--source", os.path.join(job.output, "none"), status=NO_SOURCE)
    other = place.text("other.txt", TEXT.replace("copper", "silver").encode())
    said = show(place, job, "--source", other)
    check(b"silver" not in said and b"The copper mine" in said, "another source was shown")
    return "refused in one line each"


if __name__ == "__main__":
    sys.exit(e2e.main([text_is_shown_as_it_was_read, what_is_not_there_is_said]))
