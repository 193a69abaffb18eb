#!/usr/bin/python3
"""validate_records.py [--unfinished] [--size BYTES] [--base SEQ] FILE.jsonl...: are these records right?

Every line against schemas/record.schema.json (by Debian's python3-jsonschema, which knows nothing of
riverrun), and what a schema cannot say: numbers without gaps, units that tile the source, sums that
add up. --unfinished: the document record may be missing. --size: the source's size. --base: the number of
the first record, where the stream was branched (units begin at 0 of the new source) or imported (they go on
where the other file ended, and the document's sums cover that too). Prints one line for each problem; exit status 0 none, 1 some, 77 jsonschema is not installed.

validate_records.py --self-test plants mistakes in good files, each of which must be found.
"""
import argparse
import json
import math
import os
import sys
import tempfile

try:
    import jsonschema
except ImportError:
    print("skipped: python3-jsonschema is not installed (./quickstart test installs it)")
    sys.exit(77)

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../schemas/record.schema.json")
INTEGERS = ("seq", "begin", "end", "tokens", "template_id", "template_count", "one_in", "templates", "alerts", "sentence_count",
            "heading", "lines", "new_templates")
OF_ITS_UNIT = ("begin", "end", "text", "novelty", "one_in", "template_id", "template")


def unique(pairs):
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def no_number(name):
    raise ValueError(f"{name} is not JSON")


def read_lines(path):
    """The records of a file, and the problems that keep a line from being one."""
    records, wrong = [], []
    with open(path, "rb") as file:
        data = file.read()
    if data and not data.endswith(b"\n"):
        wrong.append("the last line has no newline")
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line.decode("utf-8"), object_pairs_hook=unique,
                                parse_constant=no_number)
            records.append((number, record))
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
    return records, wrong


def near(got, want, relative):
    """Negated where used, so that NaN is far from everything."""
    return abs(got - want) <= relative * max(1.0, abs(want))


def check_alone(record):
    """What is wrong with one record that has passed the schema."""
    wrong = [f"{name} is written as a real" for name in INTEGERS
             if name in record and not isinstance(record[name], int)]
    size = record["end"] - record["begin"]
    if size < 0:
        wrong.append("end lies before begin")
    if record["kind"] == "lineage":
        return wrong + (["a lineage record has no bytes"] if size else [])
    if record["kind"] == "alert":
        return wrong
    if record["kind"] == "summary":
        places = [place for name in ("sentences", "passages", "novel") for place in record.get(name, [])]
        wrong += [f"{place} is no place between {record['begin']} and {record['end']}" for place in places
                  if not record["begin"] <= place["begin"] < place["end"] <= record["end"]]
        begins = [place["begin"] for place in record.get("sentences", record.get("novel"))]
        if sum(one["lines"] for one in record.get("templates_most", [])) > record.get("lines", 0):
            wrong.append("templates of more lines than there are")
        return wrong + (["a sentence comes twice"] if len(set(begins)) < len(begins) else [])
    if record["kind"] == "boundaries":
        begins = [place["begin"] for place in record["boundaries"]]
        return wrong + ([] if record["begin"] < begins[0] and begins == sorted(set(begins)) and begins[-1] <= record["end"]
                        else ["boundaries out of their order or stretch"])
    if record["kind"] in ("line", "paragraph", "entry", "section") and (size <= 0 or record["tokens"] == 0):
        wrong.append("a unit without bytes or tokens")
    # A token stands for a byte at least, and normalisation at most triples the bytes.
    if record["tokens"] > 3 * size:
        wrong.append("more tokens than bytes allow")
    # The logarithm of a probability; a float's rounding may put a certain one just above 1.
    if not record["nats"] >= -1e-5 * record["tokens"]:
        wrong.append("negative nats")
    bits = record["bits_per_byte"]
    if (bits is None) != (size == 0):
        wrong.append("bits_per_byte must be null where there is no byte, and only there")
    elif bits is not None and size > 0:
        if not near(bits, record["nats"] / math.log(2) / size, 1e-12):
            wrong.append("bits_per_byte is not nats / ln 2 / bytes")
    return wrong


def check_together(records, stream, unfinished, size, base):
    """What is wrong between the records of one file, which have passed the schema."""
    wrong, tokens, nats, kind, changed_at = [], 0, [], None, 0
    begins = [record["begin"] for _, record in records if "tokens" in record]
    at = begins[0] if base and begins else 0
    last, summed = at, 0
    whole = at == 0 and (not base or len(begins) > 1)
    alerts = sum(record["kind"] == "alert" for _, record in records)
    templates = 1 + max((record.get("template_id", -1) for _, record in records), default=-1)
    for place, (number, record) in enumerate(records):
        here = f"line {number}: "
        if record["stream"] != stream:
            wrong.append(here + f"stream {record['stream']!r} in the file of {stream!r}")
        if record["seq"] != base + place:
            wrong.append(here + f"seq {record['seq']}, expected {base + place}")
        if record["kind"] == "lineage":
            if record["begin"] < max(at, changed_at):
                wrong.append(here + "a change before what was read already")
            changed_at, kind = record["begin"], None
        elif record["kind"] == "alert":
            before = records[place - 1][1] if place else record if base else {}
            wrong += [here + f"an alert with another {name} than the unit before it" for name in OF_ITS_UNIT
                      if before.get(name) != record[name]]
        elif record["kind"] == "summary":
            if record["end"] not in (at, last) and not (base and len(begins) == 1):
                wrong.append(here + f"a summary up to {record['end']}, the unit before goes from {last} to {at}")
            if "lines" in record and record["begin"] != summed and not base:
                wrong.append(here + f"a summary from {record['begin']}, the one before ends at {summed}")
            summed = record["end"]
        elif record["kind"] == "boundaries":
            units = {one["begin"] for _, one in records[:place] if "tokens" in one}
            if not base and not units.issuperset(one["begin"] for one in record["boundaries"]):
                wrong.append(here + "a boundary where no unit begins")
        elif record["kind"] == "document":
            if place + 1 != len(records):
                wrong.append(here + "records after the document")
            alone = base and len(begins) == 1  # all its units are in the other file
            if record["begin"] != 0 or (record["end"] != at and not alone) or record["end"] < changed_at:
                wrong.append(here + f"the document must reach from 0 to {max(at, changed_at)}")
            if size is not None and record["end"] != size:
                wrong.append(here + f"the document ends at {record['end']}, the source at {size}")
            if record["tokens"] != tokens if whole else record["tokens"] < tokens:
                wrong.append(here + f"{record['tokens']} tokens, the units have {tokens}")
            if whole and not near(record["nats"], math.fsum(nats), 1e-9):
                wrong.append(here + f"{record['nats']} nats, the units have {math.fsum(nats)}")
            if whole and "alerts" in record and (record["alerts"], record["templates"]) != (alerts, templates):
                wrong.append(here + f"{record['alerts']} alerts of {record['templates']} templates, the records "
                             f"have {alerts} of {templates}")
        else:
            if record["begin"] != at or record["end"] < changed_at:
                wrong.append(here + f"begins at {record['begin']}, the unit before ends at {at}")
            if kind not in (None, record["kind"]):
                wrong.append(here + f"a {record['kind']} among {kind}s")
            last, at, kind = at, record["end"], record["kind"]
            tokens += record["tokens"]
            nats.append(record["nats"])
    if not unfinished and (not records or records[-1][1]["kind"] != "document"):
        wrong.append("the last record is not the document")
    return wrong


def validate(path, unfinished=False, size=None, base=0):
    """The problems of one file, as lines of text."""
    with open(SCHEMA, encoding="utf-8") as text:
        schema = json.load(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    records, wrong = read_lines(path)
    for number, record in records:
        found = [error.message for error in validator.iter_errors(record)]
        wrong += [f"line {number}: {what}" for what in found or check_alone(record)]
    if not wrong:
        stream = os.path.basename(path).removesuffix(".jsonl")
        wrong = check_together(records, stream, unfinished, size, base)
    return wrong


def sample():
    """Two paragraphs, a change of settings between them, the document."""
    def scored(seq, kind, begin, end, tokens, nats):
        return {"stream": "a", "seq": seq, "kind": kind, "begin": begin, "end": end,
                "tokens": tokens, "nats": nats, "bits_per_byte": nats / math.log(2) / (end - begin),
                "text": "Well done"}
    return [dict(scored(0, "paragraph", 0, 10, 4, 12.5), surprise=None, embedding="gX8A/w=="),
            {"stream": "a", "seq": 1, "kind": "lineage", "begin": 12, "end": 12,
             "changed": ["model: 12ab -> 34cd"]},
            dict(scored(2, "paragraph", 10, 30, 9, 20.25), surprise=-1.25),
            scored(3, "document", 0, 30, 13, 32.75)]


def alarmed():
    """Two lines, the second of them with an alert, and the document."""
    first, _, second, document = sample()
    novelty = {"template_id": 0, "template": "Well <*>", "novelty": 1.5, "one_in": 1}
    line = dict(second, seq=1, kind="line", **dict(novelty, novelty=9.25, one_in=2, template_id=1), template_count=1)
    alert = {name: line[name] for name in ("stream", "begin", "end", "text", "novelty", "one_in", "template_id",
                                           "template")}
    return [dict(first, kind="line", **novelty, template_count=1), line,
            dict(alert, seq=2, kind="alert", reason="new template"), dict(document, alerts=1, templates=2)]


def summed():
    """The sample, and what it says."""
    records = sample()
    place = {"begin": 0, "end": 9, "text": "Well done"}
    summary = {"stream": "a", "seq": 3, "kind": "summary", "begin": 0, "end": 30, "text": "Well done", "sentence_count": 2,
               "sentences": [dict(place, begin=10, end=30), place], "phrases": [{"text": "Well done", "count": 2}],
               "passages": [place]}
    return records[:3] + [summary, dict(records[3], seq=4)]


def bounded():
    """The sample, and where something new begins."""
    records = sample()
    bounds = {"stream": "a", "seq": 3, "kind": "boundaries", "begin": 0, "end": 30,
              "boundaries": [{"begin": 10, "strength": 2.5}]}
    return records[:3] + [bounds, dict(records[3], seq=4)]


def periods():
    """The lines, a summary of the first behind the second, and one of that at the end."""
    records = alarmed()
    summary = {"stream": "a", "kind": "summary", "begin": 0, "end": 10, "text": "Well done", "lines": 1, "from": "Jun 1 10:00:00",
               "to": "Jun 1 10:00:00", "new_templates": 1, "templates_most": [{"template_id": 0, "lines": 1, "text": "Well <*>"}],
               "templates_new": [], "novel": [{"begin": 0, "end": 10, "novelty": 1.5, "text": "Well done"}]}
    late = dict(summary, begin=10, end=30, novel=[])
    records = records[:3] + [summary, late] + records[3:]
    return [dict(record, seq=seq) for seq, record in enumerate(records)]


def spoilt(record, *, of=None, **fields):
    """sample() with fields of one record set, or taken away where the value is ... (Ellipsis)."""
    records = (of or sample)()
    records[record].update(fields)
    records[record] = {name: value for name, value in records[record].items() if value is not ...}
    return records


def without(record):
    """sample() without one record, the rest numbered anew."""
    records = sample()
    del records[record]
    for seq, rest in enumerate(records):
        rest["seq"] = seq
    return records


def mistakes():
    """Name and text of files that are wrong in one thing each."""
    def lines(records):
        return "".join(json.dumps(record) + "\n" for record in records)

    bits = 1 / math.log(2)
    good = lines(sample())
    planted = {
        "unknown field": spoilt(0, speed=3),
        "field missing": spoilt(0, tokens=...),
        "text missing": spoilt(2, text=...),
        "unknown kind": spoilt(0, kind="chapter"),
        "seq negative": spoilt(0, seq=-1),
        "seq gap": spoilt(2, seq=3),
        "seq repeated": spoilt(1, seq=0),
        "seq as text": spoilt(0, seq="0"),
        "seq as a real": spoilt(2, seq=2.0),
        "first unit not at 0": spoilt(0, begin=1, bits_per_byte=12.5 * bits / 9),
        "units overlap": spoilt(2, begin=9, bits_per_byte=20.25 * bits / 21),
        "units leave a gap": spoilt(2, begin=11, bits_per_byte=20.25 * bits / 19),
        "unit without bytes": spoilt(0, end=0, tokens=0, bits_per_byte=None),
        "end negative": spoilt(0, end=-1),
        "end before begin": spoilt(2, end=9, bits_per_byte=-20.25 * bits),
        "more tokens than bytes": spoilt(0, tokens=31),
        "nats negative": spoilt(0, nats=-12.5, bits_per_byte=-12.5 * bits / 10),
        "bits null with bytes": spoilt(0, bits_per_byte=None),
        "bits wrong": spoilt(0, bits_per_byte=1.25 * bits * (1 + 1e-9)),
        "mixed units": spoilt(0, kind="line")[:1] + without(1)[1:],
        "entries among paragraphs": spoilt(0, kind="entry")[:1] + without(1)[1:],
        "other stream": spoilt(2, stream="b"),
        "text too long": spoilt(0, text="a" * 161),
        "document missing": sample()[:3],
        "document not last": sample() + [dict(sample()[2], seq=4, begin=30, end=50)],
        "document too short": spoilt(3, end=29, bits_per_byte=32.75 * bits / 29),
        "document not from 0": spoilt(3, begin=1, bits_per_byte=32.75 * bits / 29),
        "document of other tokens": spoilt(3, tokens=14),
        "document of other nats": spoilt(3, nats=32.7500001, bits_per_byte=32.7500001 * bits / 30),
        "change without words": spoilt(1, changed=[]),
        "change not told as old and new": spoilt(1, changed=["model"]),
        "change with tokens": spoilt(1, tokens=1),
        "change with bytes": spoilt(1, end=13),
        "change in the past": spoilt(1, begin=9, end=9),
        "surprise as text": spoilt(0, surprise="3"),
        "surprise of a document": spoilt(3, surprise=0.5),
        "surprise of a change": spoilt(1, surprise=0.5),
        "embedding as numbers": spoilt(0, embedding=[1, 2]),
        "embedding that is no base64": spoilt(0, embedding="AAA"),
        "embedding of a document": spoilt(3, embedding="AAAA"),
        "embedding of a change": spoilt(1, embedding="AAAA"),
        "alert without its reason": spoilt(2, of=alarmed, reason=...),
        "alert without words": spoilt(2, of=alarmed, reason=""),
        "alert with tokens": spoilt(2, of=alarmed, tokens=1),
        "alert of another line": spoilt(2, of=alarmed, begin=0),
        "alert of another template": spoilt(2, of=alarmed, template_id=0),
        "alert of another rank": spoilt(2, of=alarmed, one_in=3),
        "alert behind no unit": [dict(record, seq=seq) for seq, record in enumerate(alarmed()[2:])],
        "alert not counted": spoilt(3, of=alarmed, alerts=0),
        "template not counted": spoilt(3, of=alarmed, templates=1),
        "alerts without templates": spoilt(3, of=alarmed, templates=...),
        "line with a reason": spoilt(1, of=alarmed, reason="new template"),
        "novelty without a template": spoilt(1, of=alarmed, template=...),
        "novelty without a count": spoilt(1, of=alarmed, template_count=...),
        "count without novelty": spoilt(1, of=alarmed, novelty=..., template=..., template_id=..., one_in=...),
        "one in none": spoilt(1, of=alarmed, one_in=0),
        "count as a real": spoilt(1, of=alarmed, template_count=1.0),
        "novelty of a document": spoilt(3, of=alarmed, novelty=1.5, template="a", template_id=0, one_in=1),
        "alerts of a unit": spoilt(0, of=alarmed, alerts=1, templates=2),
        "template too long": spoilt(1, of=alarmed, template="a" * 609),
        "summary without its sentences": spoilt(3, of=summed, sentences=...),
        "summary with tokens": spoilt(3, of=summed, tokens=1),
        "summary of other bytes": spoilt(3, of=summed, end=31),
        "sentence outside": spoilt(3, of=summed, sentences=[{"begin": 10, "end": 31, "text": "a"}]),
        "sentence without text": spoilt(3, of=summed, sentences=[{"begin": 10, "end": 30}]),
        "sentence twice": spoilt(3, of=summed, sentences=[{"begin": 1, "end": 3, "text": "a"}] * 2),
        "summary of more lines": spoilt(3, of=periods, templates_most=[{"template_id": 0, "lines": 2, "text": "a"}]),
        "lines between summaries": spoilt(4, of=periods, begin=11),
        "summary without its lines": spoilt(3, of=periods, lines=...),
        "summary of both kinds": spoilt(3, of=periods, sentences=[], sentence_count=1, phrases=[], passages=[]),
        "novel line outside": spoilt(3, of=periods, novel=[{"begin": 9, "end": 11, "novelty": 1.5, "text": "a"}]),
        "phrase that came once": spoilt(3, of=summed, phrases=[{"text": "a", "count": 1}]),
        "boundaries without a list": spoilt(3, of=bounded, boundaries=...),
        "boundaries without a place": spoilt(3, of=bounded, boundaries=[]),
        "boundaries with text": spoilt(3, of=bounded, text="a"),
        "boundary without strength": spoilt(3, of=bounded, boundaries=[{"begin": 10}]),
        "boundary outside": spoilt(3, of=bounded, end=9),
        "boundary at the beginning": spoilt(3, of=bounded, begin=10),
        "boundary within a unit": spoilt(3, of=bounded, boundaries=[{"begin": 11, "strength": 1}]),
        "boundary twice": spoilt(3, of=bounded, boundaries=[{"begin": 10, "strength": 1}] * 2),
        "boundaries of a unit": spoilt(0, boundaries=[{"begin": 1, "strength": 1}]),
        "sentences of a unit": spoilt(0, sentences=[]),
        "unit with changes": spoilt(0, changed=["a: b -> c"]),
    }
    texts = {name: lines(records) for name, records in planted.items()}
    texts.update({
        "empty file": "",
        "torn line": good[:-1],
        "half a line": good[:-20],
        "blank line": good + "\n",
        "no object": good + "[]\n",
        "name twice": good.replace('"seq": 0', '"seq": 0, "seq": 0', 1),
        "not a number": good.replace("12.5,", "NaN,", 1),
        "infinity": good.replace("12.5,", "Infinity,", 1),
    })
    return texts


def self_test():
    wrong = []
    lone = {"stream": "a", "seq": 0, "kind": "document", "begin": 0, "end": 0, "tokens": 0,
            "nats": 0.0, "bits_per_byte": None, "text": ""}
    with tempfile.TemporaryDirectory(prefix="riverrun-records-") as folder:
        path = os.path.join(folder, "a.jsonl")

        def problems(text, **options):
            with open(path, "w", encoding="utf-8") as out:
                out.write(text)
            return validate(path, **options)

        good = "".join(json.dumps(record) + "\n" for record in sample())
        wrong += [f"a good file is refused: {what}" for what in
                  problems(good) + problems("".join(json.dumps(one) + "\n" for one in alarmed())) +
                  problems("".join(json.dumps(one) + "\n" for one in summed())) +
                  problems("".join(json.dumps(one) + "\n" for one in bounded())) +
                  problems("".join(json.dumps(one) + "\n" for one in periods())) +
                  problems(good, size=30) + problems(json.dumps(lone) + "\n") +
                  problems(good[:good.rindex('{"stream"')], unfinished=True)]
        if not problems(good, size=31):
            wrong.append("not found: another size of the source")
        later = "".join(json.dumps(dict(record, seq=record["seq"] + 7)) + "\n" for record in sample())
        rest = later[later.index("\n") + 1:]  # imported: the first unit is in another file
        wrong += [f"a good file that begins at 7 or 8 is refused: {what}" for what in
                  problems(later, base=7) + problems(rest, base=8) +
                  problems(rest[rest.rindex('{"stream"'):], base=10)]
        wrong += [f"not found: {name}" for name, text, base in (
            ("a base where there is none", good, 7), ("no base", later, 0), ("another base", later, 6),
            ("sums of a branch", later.replace('"tokens": 13', '"tokens": 14'), 7),
            ("a document smaller than its units", rest.replace('"tokens": 13', '"tokens": 8'), 8),
            ("a unit missing after the base", rest[:rest.index("\n") + 1] + rest[rest.rindex('{"stream"'):], 8),
        ) if not problems(text, base=base)]
        planted = mistakes()
        wrong += [f"not found: {name}" for name, text in planted.items() if not problems(text)]
    print("\n".join(wrong), end="\n" if wrong else "")
    print(f"{len(planted) + 1} planted mistakes, {len(wrong)} problems")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--unfinished", action="store_true")
    parser.add_argument("--size", type=int)
    parser.add_argument("--base", type=int, default=0)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if not options.files:
        parser.error("no files given")
    status = 0
    for path in options.files:
        for what in validate(path, options.unfinished, options.size, options.base):
            print(f"{path}: {what}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
