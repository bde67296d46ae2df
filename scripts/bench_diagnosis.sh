#!/usr/bin/env bash
# Measures how histories are read, coded and turned into a training's inputs, at any size.
#
#     scripts/bench_diagnosis.sh [PATIENTS]
#
# PATIENTS (46000: a million appointments) are made up as Parquet. `noso diagnosis build` groups their appointments and codes the conclusions
# by the shipped pipeline; it is killed (kill -9) when half of the patients are coded, and goes on with --resume. Then `noso train diagnosis`
# reads all inputs, of 256 tokens, and is stopped where the training itself would begin. About ten minutes on two idle cores. Prints a table
# and appends a JSON line a row to experiments/results/bench_diagnosis.jsonl: seconds, appointments a second, the most memory that the process
# held (MB) and how many cores it kept busy. NOSO=PROGRAM spares the build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
work="$target/bench/diagnosis"
fresh "$work"
mkdir -p experiments/results
if [ -z "${NOSO:-}" ]; then
    cargo build --release --no-default-features --features neural,parquet --locked
    NOSO="$target/release/noso"
fi
python3 - "$NOSO" "$work" "${1:-46000}" "$(git rev-parse --short HEAD)" <<'PY'
import json, os, subprocess, sys, time

noso, work, patients, commit = sys.argv[1:]
lines = lambda path: sum(1 for _ in open(path, "rb")) if os.path.exists(path) else 0

def run(arguments, until=None):
    """Runs noso to its end, or kills it once `until`, given what it said so far, is true; returns seconds, usage, and what it said."""
    start = time.monotonic()
    log = open(f"{work}/log", "w+b")
    process = subprocess.Popen([noso, *arguments], stdout=log, stderr=log)
    while until is not None and process.poll() is None and not until(open(log.name, "rb").read()):
        time.sleep(0.1)
    seconds = time.monotonic() - start
    if until is not None:
        assert process.returncode is None, open(log.name).read()
        process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    if until is None:
        seconds = time.monotonic() - start
        assert status == 0, open(log.name).read()
    return seconds, usage, open(log.name).read()

def row(job, appointments, seconds, usage):
    line = {"date": time.strftime("%Y-%m-%d"), "commit": commit, "job": job, "appointments": appointments, "seconds": round(seconds, 1),
            "appointments_a_second": round(appointments / seconds), "peak_mb": round(usage.ru_maxrss * 1024 / 1e6),
            "cores": round((usage.ru_utime + usage.ru_stime) / seconds, 2)}
    print(json.dumps(line), file=open("experiments/results/bench_diagnosis.jsonl", "a"))
    print(f"| {job} | {appointments:,} | {seconds:.1f} | {line['appointments_a_second']:,} | {line['peak_mb']} | {line['cores']} |", flush=True)

print("| job | appointments | seconds | a second | MB | cores |\n|---|---|---|---|---|---|", flush=True)
simulated, data = f"{work}/simulated", f"{work}/data"
seconds, usage, _ = run(["diagnosis", "simulate", "--patients", patients, "--format", "parquet", "--output", simulated])
appointments = lines(f"{simulated}/truth.jsonl")
row("simulate", appointments, seconds, usage)

build = ["diagnosis", "build", "--table", f"{simulated}/appointments.parquet", "--output", data]
manifest = lambda: json.load(open(f"{data}/manifest.json")) if os.path.exists(f"{data}/manifest.json") else {}
seconds, usage, _ = run(build, lambda _: manifest().get("histories") is not None)
row("read, group, write histories", appointments, seconds, usage)
count = lambda path: sum(len(json.loads(line)["codes"]) for line in open(path))
half = lines(f"{data}/histories.jsonl") // 2
linked = f"{data}/linked.jsonl"
seconds, usage, _ = run(build + ["--resume"], lambda _: lines(linked) > half)
text = open(linked, "rb").read()
done = sum(len(json.loads(line)["codes"]) for line in text.splitlines(keepends=True) if line.endswith(b"\n"))
row("code conclusions, until kill -9", done, seconds, usage)
seconds, usage, said = run(build + ["--resume"])
assert count(linked) == appointments and lines(linked) == lines(f"{data}/histories.jsonl"), "appointments were lost"
row("… the rest, with --resume", appointments - done, seconds, usage)

train = ["train", "diagnosis", "--dataset", data, "--labels", "linked", "--max-tokens", "256", "--window", "64", "--layers", "2", "--hidden",
         "128", "--vocabulary", "4000", "--output", f"{work}/model"]
seconds, usage, said = run(train, lambda said: b"to learn:" in said)
row("read a training's inputs", appointments, seconds, usage)
PY
