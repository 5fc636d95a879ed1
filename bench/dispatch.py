#!/usr/bin/env python3
"""How fast arrays of `kind: command` are carried out, against HyperQueue in the same run.

usage: dispatch.py --bin build/release/bin [--tasks 10000] [--noops 100000] [--slots 8] [--rounds 3] [--port 8660] [--peer-python PY] [--json]

Arrays of /bin/true (processes, as HyperQueue starts them) and of the worker's built-in no-op (scheduler, wire and state alone), each
element's start and end durable, everything encrypted. Lorry and its peer take turns; the median of the rounds is shown with the ratio.
The time is from submission to the last element's end as the client sees it.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

here = os.path.dirname(os.path.abspath(__file__))


def lorry(a, home, *words):
    done = subprocess.run([os.path.join(a.bin, "lorry"), *words, "--home", home, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"lorry {' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout or "{}")


def run_array(a, home, argv, count):
    """Seconds that an array of `count` times argv takes."""
    job = os.path.join(home, "array.yaml")
    with open(job, "w") as file:
        file.write(f"kind: command\nname: dispatch\nproject: bench\nargv: {json.dumps(argv)}\narray: {count}\nresources: {{cpus: 1}}\n")
    begin = time.perf_counter()
    lorry(a, home, "submit", job, "--wait")
    return time.perf_counter() - begin


def peer(a, folder):
    done = subprocess.run([a.peer_python, os.path.join(here, "peers", "hq.py"), "--tasks", str(a.tasks), "--slots", str(a.slots)],
                          capture_output=True, text=True, cwd=folder)  # it leaves two files for each task where it runs
    if done.returncode != 0:
        print(f"no peer: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout[done.stdout.index("{"):])["tasks_per_s"]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", default="build/release/bin")
    p.add_argument("--tasks", type=int, default=10000)
    p.add_argument("--noops", type=int, default=100000)
    p.add_argument("--slots", type=int, default=8)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--port", type=int, default=8660)
    p.add_argument("--peer-python", default=os.environ.get("LORRY_PEER_PYTHON", sys.executable))
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    true_rates, noop_rates, peer_rates = [], [], []
    with tempfile.TemporaryDirectory(prefix="lorry-dispatch-") as home:
        lorry(a, home, "up", "--devices", f"cpu:{a.slots}", "--port", str(a.port), "--detach")
        try:
            for _ in range(a.rounds):
                true_rates.append(a.tasks / run_array(a, home, ["/bin/true"], a.tasks))
                rate = peer(a, home)
                if rate:
                    peer_rates.append(rate)
                noop_rates.append(a.noops / run_array(a, home, [":"], a.noops))
        finally:
            subprocess.run([os.path.join(a.bin, "lorry"), "down", "--home", home], capture_output=True)
    result = {"slots": a.slots, "true_per_s": round(statistics.median(true_rates), 1), "noop_per_s": round(statistics.median(noop_rates), 1),
              "hyperqueue_per_s": round(statistics.median(peer_rates), 1) if peer_rates else None}
    if peer_rates:
        result["true_ratio"] = round(result["true_per_s"] / result["hyperqueue_per_s"], 2)
    if a.json:
        print(json.dumps(result))
        return
    print(f"/bin/true, {a.slots} slots   lorry {result['true_per_s']:>10} /s   hyperqueue {result['hyperqueue_per_s']} /s   ratio {result.get('true_ratio')}")
    print(f"no-op, durable       lorry {result['noop_per_s']:>10} /s   (must 20,000, aim 50,000)")


if __name__ == "__main__":
    main()
