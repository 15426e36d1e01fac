"""Whether PEFT reads the adapters that our command writes: the same numbers on both sides.

    python benches/peers/adapter.py [--peer-python PYTHON] [--command STILLHOUSE] [--json]

Our command trains a few LoRA steps on the quickstart's student, in several settings, and scores
texts with base and adapter; transformers and PEFT load the same base and the saved adapter, and
foretell the same tokens. Where the run merges, transformers loads the merged folder as well.
Prints, for each setting, the largest difference of a token's log-probability, how far the adapter
moves that of any token (so that nothing is compared with nothing), and ranks that differ.
Builds our command with cargo, and installs the peers into a virtual environment of its own
(`--venv`; `--peer-python` takes one that is there).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import sides

PEERS = ["torch==2.15.0", "transformers==5.23.0", "peft==0.21.2"]
BASE = sides.ROOT / "examples/quickstart/base"
SETTINGS = {
    "all-linear": {"lora": {"r": 4, "alpha": 8.0, "targets": "all-linear"}, "merge": True},
    "rslora, two targets": {
        "lora": {"r": 6, "alpha": 5.0, "rslora": True, "targets": ["q_proj", "down_proj"]}
    },
    "dropout, bf16 base": {
        "lora": {"r": 4, "alpha": 16.0, "dropout": 0.1, "targets": "all-linear"},
        "base": "bf16",
    },
}
LARGEST = 1e-4


def toml(value):
    """A JSON value as TOML's inline form."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(part)}" for key, part in value.items()) + "}"
    return json.dumps(value)


def trained(command, work, options):
    """The run directory of a few steps."""
    options = {"method": "lora", "steps": 6, "learning_rate": 5e-3} | options
    sets = {"student.train": options, "evaluate.metrics": ["rouge"]}
    flags = [part for key, value in sets.items() for part in ("--set", f"{key}={toml(value)}")]
    run = [command, "run", "examples/quickstart/run.toml", "--to", "train", "--out", work, "--quiet"]
    subprocess.run([*run, *flags], cwd=sides.ROOT, check=True)
    return work


def scored(command, model, texts, *adapter):
    run = [command, "score", model, texts, *adapter, "--json"]
    lines = subprocess.run(run, check=True, text=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in lines.splitlines()]


def peer(folder):
    """The other side: what transformers and PEFT say of the same texts."""
    import peft
    import torch
    import transformers

    folder = Path(folder)
    rows = [json.loads(line) for line in (folder / "ours.jsonl").read_text().splitlines()]
    texts = [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()]
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE)

    @torch.inference_mode()
    def compare(model):
        worst, ranks, found = 0.0, 0, []
        for text, row in zip(texts, rows, strict=True):
            prompt = tokenizer(text["prompt"]).input_ids
            ids = torch.tensor([prompt + row["token_ids"]])
            logits = model(ids).logits[0, len(prompt) - 1 : -1]
            wanted = torch.tensor(row["token_ids"])[:, None]
            logprobs = logits.log_softmax(-1).gather(1, wanted)[:, 0]
            rank = 1 + (logits > logits.gather(1, wanted)).sum(1)
            worst = max(worst, (logprobs - torch.tensor(row["logprobs"])).abs().max().item())
            ranks += (rank != torch.tensor(row["ranks"])).sum().item()
            found.append(logprobs)
        return worst, ranks, torch.cat(found)

    def base(path):
        return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    plain = compare(base(BASE))[2]
    config = peft.PeftConfig.from_pretrained(folder / "run/adapter")
    model = peft.get_peft_model(base(BASE), config).eval()
    weights = peft.load_peft_weights(folder / "run/adapter")
    loaded = peft.set_peft_model_state_dict(model, weights)
    missing = [name for name in loaded.missing_keys if "lora_" in name]
    if missing or loaded.unexpected_keys:
        sys.exit(f"PEFT misses {missing}, does not know {loaded.unexpected_keys}")
    worst, ranks, found = compare(model)
    result = {
        "largest_difference": worst,
        "ranks_that_differ": ranks,
        "tokens": len(found),
        "tensors": len(weights),
        "moved_by_the_adapter": (found - plain).abs().max().item(),
    }
    if (folder / "run/model").is_dir():
        result["largest_difference_merged"] = compare(base(folder / "run/model"))[0]
    print(json.dumps(result))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=sides.ROOT / "benches/peers/.venv")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--command", type=Path, help="our command, where it is built already")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args.peer)

    command = args.command or sides.build_command()
    python = args.peer_python or sides.peer_python(args.venv, PEERS)
    env, _ = sides.environments(2)
    path = sides.ROOT / "datasets/climate-fever/explanations.jsonl"
    texts = [json.loads(line)["explanation"] for line in path.read_text().splitlines()[:6]]
    result = {}
    for name, options in SETTINGS.items():
        with tempfile.TemporaryDirectory() as work:
            work = Path(work)
            rows = [
                {"id": str(n), "prompt": text[: len(text) // 2], "completion": text[len(text) // 2 :]}
                for n, text in enumerate(texts)
            ]
            (work / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            run = trained(command, work / "run", options)
            ours = scored(command, BASE, work / "texts.jsonl", "--adapter", run / "adapter")
            (work / "ours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ours))
            said = subprocess.run(
                [python, __file__, "--peer", work], env=env, check=True, text=True, stdout=subprocess.PIPE
            )
            result[name] = json.loads(said.stdout.splitlines()[-1])
    print(json.dumps(result) if args.json else json.dumps(result, indent=2))
    worst = max(value for row in result.values() for key, value in row.items() if "largest" in key)
    if worst > LARGEST:
        sys.exit(f"the sides disagree by {worst}")


main()
