"""Real replies of five teachers: only what really goes round in circles is ended."""

import json

import pytest

from nt_lightning.evaluation.loops import CHECK_EVERY, goes_round
from nt_lightning.models import load_tokenizer
from tests.integration.real_data import real_file

REPLIES = {"deepseekR1": "deepseek-reasoner (question)"}
LOOPS = {"phi3": [126]}  # 29,099 tokens, nearly all of them rounds of 396


@pytest.mark.timeout(300)
@pytest.mark.parametrize("teacher", ["QwQ", "Qwen32", "deepseekR1", "phi3", "s1.1"])
def test_only_the_loop_is_ended(teacher):
    path = real_file("mip_overthinking", "response", "gsm8k", "normal", teacher, "response.json")
    key = REPLIES.get(teacher, "model_answer")
    texts = [row[key] for row in json.loads(path.read_text())]
    assert len(texts) == 582
    rows = load_tokenizer("smollm2-135m-instruct")(texts, add_special_tokens=False)["input_ids"]
    ended = [
        next((end for end in range(0, len(ids), CHECK_EVERY) if goes_round(ids[:end])), None)
        for ids in rows
    ]
    assert [index for index, end in enumerate(ended) if end] == LOOPS.get(teacher, [])
    if teacher == "phi3":
        assert (len(rows[126]), ended[126]) == (29_099, 3_072)
