"""Runs lorry-train by hand on a task of its own: what finetune.py and sweep.py measure. Two lanes of one thread."""
import json, os, subprocess, sys, time


def job(model, rows, steps, dtype):
    """LoRA r16 on all linear layers, 8 rows a step, in the file's order: what bench/peers/peft_sft.py trains."""
    return {"kind": "finetune", "name": "bench", "project": "bench", "base_model": os.path.abspath(model),
            "dataset": {"path": rows, "max_length": 512, "too_long": "truncate", "shuffle": False},
            "adapter": {"type": "lora", "r": 16, "alpha": 32},
            "training": {"max_steps": steps, "rows_per_micro_batch": 4, "micro_batches_per_step": 2, "learning_rate": 2e-4,
                         "lr_scheduler": "constant", "precision": "bf16" if dtype == "bfloat16" else "fp32"},
            "resources": {"cpus": 2}, "output": {"adapter": "bench/adapter"}}


def train(program, run, job):
    """(lines of its steps, seconds from start to end, peak resident MB); `run` is a folder to be made."""
    os.makedirs(f"{run}/attempts/1")
    inputs = {"base_model": job["base_model"], "train": job["dataset"]["path"]}
    if "validation" in job["dataset"]:
        inputs["validation"] = job["dataset"]["validation"]
    task = {"schema": 1, "run": "R1", "attempt": 1, "epoch": 1, "kind": "finetune", "job": job, "attempt_dir": f"{run}/attempts/1",
            "run_dir": run, "cache_dir": f"{run}/cache", "socket": None, "ranks": 1, "lanes": 2, "threads_per_lane": 1,
            "inputs": inputs, "resume_from": None, "shards": []}
    json.dump(task, open(f"{run}/task.json", "w"))
    start = time.monotonic()
    child = subprocess.Popen([program, "--task", f"{run}/task.json"], stdout=subprocess.PIPE, text=True)
    steps = [line for line in map(json.loads, child.stdout) if line["t"] == "step"]
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"lorry-train ended with status {status}")
    return steps, time.monotonic() - start, usage.ru_maxrss // 1024
