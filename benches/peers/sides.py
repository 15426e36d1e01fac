"""What the comparisons share: two processes that take turns, and how each is built and set up."""

import glob
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMOLLM_135M = dict(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    vocab_size=49152,
    max_position_embeddings=2048,
    tie_word_embeddings=True,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Side:
    """A process that prints a JSON line when it is ready, and one for each line that it reads."""

    def __init__(self, command, env):
        command = [str(part) for part in command]
        self.process = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.ready = self.read()

    def read(self):
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):
            line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[0]} ended before it answered")
        return json.loads(line)

    def round(self):
        """One turn: what it answers, with the processor time in seconds as `cpu`."""
        before = self.cpu_seconds()
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.read()
        return answer | {"cpu": self.cpu_seconds() - before}

    def cpu_seconds(self):
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self):
        """Ends the process; its peak memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        self.process.stdin.close()
        self.process.wait()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024


def build(bench):
    """Our bench's path; the whole workspace, so that no crate is built with other features."""
    return executable(["bench", "--workspace", "--bench", bench, "--no-run"], bench)


def build_command():
    """Our command's path."""
    return executable(["build", "--release", "--workspace"], "stillhouse")


def executable(arguments, name):
    command = ["cargo", *arguments, "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    found = [json.loads(line) for line in lines.stdout.splitlines()]
    found = [m.get("executable") for m in found if m.get("target", {}).get("name") == name]
    return [path for path in found if path][-1]


def peer_python(folder, packages):
    """The Python of a virtual environment that has the peers."""
    python = folder / "bin/python"
    if not python.exists():
        print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def environments(threads):
    """Ours, and the peers' with tcmalloc where it is installed (Debian: libtcmalloc-minimal4)."""
    threads = str(threads)
    env = os.environ | {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    env |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    allocators = sorted(glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4"))
    if not allocators:
        print("libtcmalloc_minimal.so.4 is missing: the peer is slower for it", file=sys.stderr)
    return env, env | ({"LD_PRELOAD": allocators[0]} if allocators else {})


def random_llama(folder, layers=SMOLLM_135M["num_hidden_layers"]):
    """A random model of SmolLM-135M's shape with the quickstart's tokenizer, saved in a folder."""
    import torch
    import transformers

    torch.manual_seed(7)
    config = transformers.LlamaConfig(**SMOLLM_135M | {"num_hidden_layers": layers})
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        source = ROOT / "examples/quickstart/base" / name
        (folder / name).write_bytes(source.read_bytes())
    return model
