"""Tensors of transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`."""

from tools.random_checkpoint.config import ClipTextConfig
from tools.random_checkpoint.tensors import Specs, embedding, linear, norm, weight


def clip_text_model(config: ClipTextConfig, vocab_size: int, prefix: str) -> Specs:
    width = config.hidden_size
    yield from embedding(f"{prefix}embeddings.token_embedding", vocab_size, width)
    yield from embedding(f"{prefix}embeddings.position_embedding", config.max_position_embeddings, width)
    for index in range(config.num_hidden_layers):
        yield from _layer(f"{prefix}encoder.layers.{index}", width, config.intermediate_size)
    yield from norm(f"{prefix}final_layer_norm", width)


def clip_text_model_with_projection(config: ClipTextConfig, vocab_size: int) -> Specs:
    """The encoder keeps its prefix in every version of transformers."""
    yield from clip_text_model(config, vocab_size, "text_model.")
    yield from weight("text_projection", (config.projection_dim, config.hidden_size))


def _layer(name: str, width: int, inner: int) -> Specs:
    yield from norm(f"{name}.layer_norm1", width)
    for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield from linear(f"{name}.self_attn.{projection}", width, width)
    yield from norm(f"{name}.layer_norm2", width)
    yield from linear(f"{name}.mlp.fc1", width, inner)
    yield from linear(f"{name}.mlp.fc2", inner, width)
