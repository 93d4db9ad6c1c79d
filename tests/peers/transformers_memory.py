"""Measures what a training step of Transformers (+ PEFT) allocates, on the CPU, byte by byte.

    pip install torch transformers peft accelerate bitsandbytes
    python tests/peers/transformers_memory.py                    # writes the fixture
    python tests/peers/transformers_memory.py --only NAME        # prints one setup's peaks
    python tests/peers/transformers_memory.py --only NAME --ops  # and every allocation with its operator

Small random models are built from a configuration, one unmeasured step makes the optimizer's
state, and the next step runs under PyTorch's profiler, which reports every allocation and release
of the CPU allocator. What was alive before the step is counted from the storages of all tensors.
The fixture holds configurations, setups, versions and the peak of each phase; `src/memory/transformers`
predicts the same numbers by shapes alone and `tests/transformers_memory.rs` compares.
"""

import argparse
import contextlib
import gc
import json
import logging
import os
import pathlib
import platform
import warnings

os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("USE_TF", "0")

import torch
import torch.nn.attention
from torch.profiler import ProfilerActivity, profile, record_function

FIXTURE = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "transformers_memory.json"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
PHASES = ("forward", "loss", "backward", "optimizer", "evaluate")

LLAMA = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=4096, hidden_size=512,
    intermediate_size=1408, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4,
    max_position_embeddings=4096, tie_word_embeddings=False, rms_norm_eps=1e-5,
    attention_bias=False, mlp_bias=False,
)
MISTRAL = {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 64,
           "sliding_window": None}
QWEN2 = {**LLAMA, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True,
         "use_sliding_window": False}
QWEN3 = {**LLAMA, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 64,
         "tie_word_embeddings": True, "use_sliding_window": False}
GEMMA2 = {**LLAMA, "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "head_dim": 64,
          "tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 64,
          "sliding_window": 128, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
GEMMA3 = {**LLAMA, "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "head_dim": 64,
          "tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 64,
          "sliding_window": 128, "sliding_window_pattern": 2,
          "layer_types": ["sliding_attention", "full_attention"] * 2}
PHI3 = {**LLAMA, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "pad_token_id": 0,
        "sliding_window": None}
for _config in (MISTRAL, QWEN2, QWEN3, GEMMA2, GEMMA3, PHI3):
    for _key in ("attention_bias", "mlp_bias"):
        _config.pop(_key)

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ATTENTION = ALL[:4]
BASE = dict(
    weights="f32", compute="f32", autocast=None, method="full", rank=0, targets=[], dropout=0.0,
    gradient_checkpointing=False, attention="sdpa", optimizer="adamw-fused", loop="script",
    accumulates_gradients=False, micro_batch_size=2, sequence_length=256,
)


def setups():
    """Name → (configuration, setup)."""
    found = {}

    def add(name, config, **changes):
        found[name] = (config, {**BASE, **changes})

    lora = dict(method="lora", rank=16, targets=ALL)
    add("llama-f32-sdpa", LLAMA)
    add("llama-f32-eager", LLAMA, attention="eager")
    add("llama-f32-sdpa-checkpointed", LLAMA, gradient_checkpointing=True)
    add("llama-f32-eager-checkpointed", LLAMA, attention="eager", gradient_checkpointing=True)
    add("llama-f32-foreach", LLAMA, optimizer="adamw-foreach", micro_batch_size=1, sequence_length=64)
    add("llama-f32-fused-tiny-batch", LLAMA, micro_batch_size=1, sequence_length=64)
    add("llama-f32-batch-8", LLAMA, micro_batch_size=8)
    add("llama-f32-large-vocabulary", {**LLAMA, "vocab_size": 49152, "tie_word_embeddings": True})
    add("llama-f32-accumulation", LLAMA, accumulates_gradients=True)
    add("llama-f16-eager-lora", LLAMA, weights="f16", attention="eager", **lora)
    add("llama-f32-math", LLAMA, attention="sdpa-math")
    add("llama-bf16-math-checkpointed", LLAMA, weights="bf16", attention="sdpa-math", gradient_checkpointing=True)
    add("llama-f32-long-eager", LLAMA, attention="eager", micro_batch_size=1, sequence_length=1024)
    add("llama-f32-long-sdpa-checkpointed", LLAMA, micro_batch_size=1, sequence_length=2048,
        gradient_checkpointing=True)
    add("llama-autocast-sdpa", LLAMA, autocast="bf16")
    add("llama-autocast-eager", LLAMA, autocast="bf16", attention="eager")
    add("llama-autocast-checkpointed", LLAMA, autocast="bf16", gradient_checkpointing=True)
    add("llama-autocast-trainer", LLAMA, autocast="bf16", loop="trainer")
    add("llama-bf16-sdpa", LLAMA, weights="bf16")
    add("llama-bf16-eager", LLAMA, weights="bf16", attention="eager")
    add("llama-bf16-checkpointed", LLAMA, weights="bf16", gradient_checkpointing=True)
    add("llama-bf16-trainer", LLAMA, weights="bf16", autocast="bf16", loop="trainer")
    add("llama-f32-lora-all", LLAMA, **lora)
    add("llama-f32-lora-dropout", LLAMA, **{**lora, "dropout": 0.1, "rank": 64})
    add("llama-bf16-lora-attention", LLAMA, weights="bf16", method="lora", rank=8, targets=ATTENTION)
    add("llama-bf16-lora-checkpointed", LLAMA, weights="bf16", gradient_checkpointing=True, **lora)
    add("llama-bf16-autocast-lora", LLAMA, weights="bf16", autocast="bf16", loop="trainer", **lora)
    add("llama-f32-autocast-lora", LLAMA, autocast="bf16", **{**lora, "dropout": 0.05})
    add("llama-f32-autocast-lora-checkpointed", LLAMA, autocast="bf16", gradient_checkpointing=True, **lora)
    nf4 = dict(weights="nf4", compute="bf16", gradient_checkpointing=True)
    add("llama-nf4-lora-checkpointed", LLAMA, **nf4, method="lora", rank=16, targets=ATTENTION)
    add("llama-nf4-double-lora-eager", LLAMA, **{**nf4, "weights": "nf4-double"}, attention="eager", **lora)
    add("llama-nf4-lora-trainer", LLAMA, **nf4, autocast="bf16", loop="trainer", **{**lora, "dropout": 0.1})
    add("llama-nf4-lora-stored", LLAMA, **{**nf4, "gradient_checkpointing": False}, **lora)
    add("mistral-f32-sdpa", MISTRAL)
    add("mistral-bf16-window-eager", {**MISTRAL, "sliding_window": 128}, weights="bf16", attention="eager")
    add("mistral-f32-window-sdpa", {**MISTRAL, "sliding_window": 128})
    add("qwen2-f32-sdpa", QWEN2)
    add("qwen2-autocast-eager-checkpointed", QWEN2, autocast="bf16", attention="eager",
        gradient_checkpointing=True)
    add("qwen2-nf4-lora-large-vocabulary", {**QWEN2, "vocab_size": 32768}, **nf4, **lora)
    add("qwen3-f32-sdpa", QWEN3)
    add("qwen3-bf16-lora-checkpointed", QWEN3, weights="bf16", gradient_checkpointing=True, **lora)
    add("gemma2-f32-eager", GEMMA2, attention="eager")
    add("gemma2-bf16-lora-eager", GEMMA2, weights="bf16", attention="eager", **lora)
    add("gemma3-f32-sdpa", GEMMA3)
    add("gemma3-bf16-eager-checkpointed", GEMMA3, weights="bf16", attention="eager", gradient_checkpointing=True)
    add("phi3-f32-sdpa", PHI3)
    add("phi3-bf16-lora-eager", PHI3, weights="bf16", attention="eager", method="lora", rank=16,
        targets=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])
    return found


def quantized(model, setup):
    """Puts bitsandbytes' 4-bit layers where Transformers puts them: all linear layers but the head."""
    import bitsandbytes as bnb

    double, compute = setup["weights"] == "nf4-double", DTYPES[setup["compute"]]
    for name, module in list(model.model.named_modules()):
        if not isinstance(module, torch.nn.Linear):
            continue
        layer = bnb.nn.Linear4bit(module.in_features, module.out_features, module.bias is not None, compute_dtype=compute,
                                  compress_statistics=double, quant_type="nf4")
        layer.weight = bnb.nn.Params4bit(module.weight.data, requires_grad=False,
                                         compress_statistics=double, quant_type="nf4")
        layer.bias = module.bias
        # A layout for CPUs with AVX512-BF16, in evaluation only: no card has it.
        layer.support_avx512bf16_for_cpu = False
        layer.to("cpu")
        parent = model.model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], layer)
    model.is_loaded_in_4bit = True
    return model


def build(config, setup):
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = AutoConfig.for_model(**{k: v for k, v in config.items() if k != "architectures"})
    settings.use_cache = False
    nf4 = setup["weights"].startswith("nf4")
    dtype = DTYPES[setup["compute"] if nf4 else setup["weights"]]
    model = AutoModelForCausalLM.from_config(settings, dtype=dtype, attn_implementation=setup["attention"].removesuffix("-math"))
    if nf4:
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(quantized(model, setup), use_gradient_checkpointing=False)
    if setup["method"] == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(
            r=setup["rank"], lora_alpha=2 * setup["rank"], lora_dropout=setup["dropout"], bias="none",
            task_type="CAUSAL_LM", target_modules=setup["targets"]))
    if setup["gradient_checkpointing"]:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if setup["method"] == "lora":
            model.enable_input_require_grads()
    if setup["loop"] == "trainer" and setup["autocast"]:
        # What accelerate's `prepare_model` does to `forward`.
        from accelerate.utils import convert_outputs_to_fp32

        model.forward = convert_outputs_to_fp32(
            torch.autocast("cpu", dtype=DTYPES[setup["autocast"]])(model.forward))
    return model


class Step:
    """A training step and an evaluation, each part under its phase's name."""

    def __init__(self, config, setup):
        self.model, self.setup = build(config, setup), setup
        trained = [p for p in self.model.parameters() if p.requires_grad]
        fused = setup["optimizer"] == "adamw-fused"
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=fused, foreach=None if fused else True)
        shape = (setup["micro_batch_size"], setup["sequence_length"])
        self.batch = torch.randint(1, config["vocab_size"], shape)
        self.inner = None
        self.head().register_forward_pre_hook(self.enter_loss)

    def head(self):
        return self.model.get_output_embeddings()

    def enter_loss(self, *_):
        self.marks.__exit__(None, None, None)
        self.marks = record_function("phase:loss" if self.model.training else "phase:evaluate")
        self.marks.__enter__()

    def forward(self):
        self.marks = record_function("phase:forward" if self.model.training else "phase:evaluate")
        self.marks.__enter__()
        setup = self.setup
        mixed = setup["autocast"] and setup["loop"] == "script"
        autocast = torch.autocast("cpu", dtype=DTYPES[setup["autocast"]]) if mixed else contextlib.nullcontext()
        with autocast, self.kernels():
            out = self.model(input_ids=self.batch, labels=self.batch)
        self.marks.__exit__(None, None, None)
        return out

    def kernels(self):
        """Forces PyTorch's composed attention where a setup asks for it."""
        if self.setup["attention"] != "sdpa-math":
            return contextlib.nullcontext()
        return torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH])

    def loss(self):
        return self.forward().loss

    def train(self):
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        out = loss = None
        for _ in range(2 if self.setup["accumulates_gradients"] else 1):
            out, loss = self.micro_step()
        with record_function("phase:optimizer"):
            self.optimizer.step()

    def micro_step(self):
        # A script holds the outputs, with the logits, until the step ends; the Trainer only the loss.
        out = self.forward() if self.setup["loop"] == "script" else None
        loss = out.loss if out is not None else self.loss()
        with record_function("phase:backward"), self.kernels():
            loss.backward()
        if out is None:
            # `training_step` returns `loss.detach()`.
            loss = loss.detach()
        return out, loss

    def evaluate(self):
        self.model.eval()
        with torch.no_grad():
            self.forward()


def alive_bytes():
    """Bytes of the storages of every tensor there is."""
    gc.collect()
    seen = {}
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor) and thing.device.type == "cpu":
            tensors = [thing]
            grad = thing.grad if thing.is_leaf else None
            tensors += [grad] if grad is not None else []
            for tensor in tensors:
                storage = tensor.untyped_storage()
                seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def events_of(recorded):
    """(time, phase or None, bytes, operators) in order of time."""
    found = []

    def walk(event, names):
        kind, extra = event.typed
        if kind.name == "Allocation":
            found.append((event.start_time_ns, None, extra.alloc_size, names))
        elif event.name.startswith("phase:"):
            found.append((event.start_time_ns, event.name[6:], 0, names))
        for child in event.children:
            walk(child, names if kind.name == "Allocation" else [*names, event.name])

    for root in recorded.profiler.kineto_results.experimental_event_tree():
        walk(root, [])
    return sorted(found, key=lambda event: event[0])


def peaks_of(base, recorded, show):
    alive, phase, peaks = base, None, {}
    for _, entered, size, names in events_of(recorded):
        phase = entered or phase
        alive += size
        if phase:
            peaks[phase] = max(peaks.get(phase, 0), alive)
        if show:
            print(f"{phase or '':10} {size:>12} {alive:>12} {' > '.join(names[-4:])}{' ENTER' if entered else ''}")
    return peaks, alive


def measure(config, setup, show=False):
    torch.manual_seed(1)
    step = Step(config, setup)
    load = alive_bytes() - step.batch.untyped_storage().nbytes()
    step.train()
    step.optimizer.zero_grad(set_to_none=True)
    peaks = {"load": load}
    for part in (step.train, step.evaluate):
        step.optimizer.zero_grad(set_to_none=True)
        base = alive_bytes()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            part()
        found, _ = peaks_of(base, recorded, show)
        peaks.update(found)
    return {phase: peaks[phase] for phase in ("load", *PHASES)}


def versions():
    import importlib.metadata as metadata

    names = ("torch", "transformers", "peft", "accelerate", "bitsandbytes")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only")
    parser.add_argument("--ops", action="store_true")
    parser.add_argument("--out", default=FIXTURE, type=pathlib.Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    found = setups()
    if arguments.only:
        config, setup = found[arguments.only]
        print(json.dumps(measure(config, setup, arguments.ops)))
        return
    rows = []
    for name, (config, setup) in found.items():
        peaks = measure(config, setup)
        rows.append({"name": name, "config": config, "setup": setup, "peak_bytes": peaks})
        print(name, peaks, flush=True)
    document = {"versions": versions(), "device": "cpu", "rows": rows}
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
