"""python -m tests.benchmarks.generation [--precision bf16] [--prompts 128] [--limit 512]

Responses of the embedded SmolLM2 on the CPU: ``evaluation.generation`` against transformers, and,
first of all, the same greedy tokens.

The prompts are held-out questions of the embedded pool in No-Think, all families in turn, in
their own order; SmolLM2 ends most responses after some tens of tokens, and a few never. The rival
``plain`` is ``model.generate`` over batches of 32 in the order of the prompts, padded on the left.
``continuous`` is transformers' own continuous batching (``model.generate_batch``) with room for
as many responses at a time. Loops are not stopped, for the rivals have no such rule. Batches of
different shapes round differently, so float32 is the precision in which tokens are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import warnings
from typing import Any

from tests.benchmarks.protocol import (
    Meter,
    Result,
    alternate,
    fresh_process,
    median_of,
    ratio,
    report,
)

NAME = "tests.benchmarks.generation"
STUDENT = "smollm2-135m-instruct"
PAGE = 256  # tokens of a page of transformers' paged cache, its default


def load(precision: str, num_prompts: int) -> tuple[Any, Any, list[list[int]]]:
    """Student, formatter and prompts."""
    import torch

    from nt_lightning.models import load_tokenizer
    from nt_lightning.pool.embedded import held_out_questions
    from nt_lightning.student.loading import load_student
    from nt_lightning.traces.formatting import PromptFormatter
    from nt_lightning.traces.modes import NO_THINK

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = load_student(STUDENT).to(dtype).eval()
    formatter = PromptFormatter(load_tokenizer(STUDENT))
    questions = held_out_questions(num_problems=num_prompts)
    return model, formatter, [formatter.prompt_ids(item.question, NO_THINK) for item in questions]


def run_ours(precision: str, prompts: int, limit: int, batch: int) -> Result:
    """Our generation."""
    from nt_lightning.evaluation.generation import generate

    model, formatter, prompt_ids = load(precision, prompts)
    with Meter() as meter:
        responses = generate(
            model, formatter, prompt_ids, max_new_tokens=limit, batch_size=batch, stop_loops=False
        )
    return _result(meter, [list(response.ids) for response in responses])


def run_plain(precision: str, prompts: int, limit: int, batch: int) -> Result:
    """``model.generate``, batch after batch."""
    import torch

    model, formatter, prompt_ids = load(precision, prompts)
    tokenizer = formatter.tokenizer
    tokenizer.padding_side = "left"
    stop = formatter.stop_token_id
    responses = []
    with Meter() as meter, torch.no_grad():
        for first in range(0, len(prompt_ids), batch):
            padded = tokenizer.pad(
                {"input_ids": prompt_ids[first : first + batch]}, return_tensors="pt"
            )
            ids = model.generate(**padded, generation_config=_greedy(limit, stop))
            new = ids[:, padded["input_ids"].shape[1] :].tolist()
            responses += [row[: row.index(stop) + 1] if stop in row else row for row in new]
    return _result(meter, responses)


def run_continuous(precision: str, prompts: int, limit: int, batch: int) -> Result:
    """``model.generate_batch``."""
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    model, formatter, prompt_ids = load(precision, prompts)
    pages = -(-(max(map(len, prompt_ids)) + limit) // PAGE)
    config = ContinuousBatchingConfig(
        page_size=PAGE,
        num_blocks=batch * pages,
        max_batch_tokens=512,
        max_requests_per_batch=batch,
    )
    with Meter() as meter:
        outputs = model.generate_batch(
            prompt_ids,
            generation_config=_greedy(limit, formatter.stop_token_id),
            continuous_batching_config=config,
        )
    by_prompt = {tuple(out.prompt_ids): list(out.generated_tokens) for out in outputs.values()}
    return _result(meter, [by_prompt[tuple(ids)] for ids in prompt_ids])


def _greedy(limit: int, stop: int) -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=limit, do_sample=False, eos_token_id=stop, pad_token_id=stop
    )


def _result(meter: Meter, responses: list[list[int]]) -> Result:
    tokens = sum(map(len, responses))
    digests = [hashlib.sha256(str(ids).encode()).hexdigest()[:12] for ids in responses]
    return meter.result(
        tokens=tokens,
        longest=max(map(len, responses)),
        per_cpu_s=tokens / meter.cpu_s,
        per_wall_s=tokens / meter.wall_s,
        digests=digests,
    )


SIDES = {"ours": run_ours, "plain": run_plain, "continuous": run_continuous}


def same_share(first: list[Result], second: list[Result]) -> float:
    """Share of responses whose tokens are all equal."""
    pairs = [
        a == b
        for one, other in zip(first, second, strict=True)
        for a, b in zip(one["digests"], other["digests"], strict=True)
    ]
    return sum(pairs) / len(pairs)


def main() -> None:
    """Measure one side, or compare all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--limit", type=int, default=512, help="new tokens of a response")
    parser.add_argument("--batch", type=int, default=32, help="responses at a time")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--side", choices=list(SIDES), help="measure this side, in this process")
    args = parser.parse_args()
    setting = {key: getattr(args, key) for key in ("precision", "prompts", "limit", "batch")}
    if args.side:
        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
        print(json.dumps(SIDES[args.side](**setting)))
        return
    results = alternate(list(SIDES), lambda side: fresh_process(NAME, side, setting), args.pairs)
    ours = results["ours"]
    rows: list[tuple[str, object]] = [
        ("tokens", ours[0]["tokens"]),
        ("longest response", ours[0]["longest"]),
        ("ours, tokens per CPU-second", median_of(ours, "per_cpu_s")),
        ("ours, tokens per second", median_of(ours, "per_wall_s")),
    ]
    for side in ("plain", "continuous"):
        theirs = results[side]
        rows += [
            (f"{side}, tokens per CPU-second", median_of(theirs, "per_cpu_s")),
            (f"{side}, tokens per second", median_of(theirs, "per_wall_s")),
            (f"ours / {side}, tokens per CPU-second", str(ratio(ours, theirs, "per_cpu_s"))),
            (f"ours / {side}, tokens per second", str(ratio(ours, theirs, "per_wall_s"))),
            (f"ours / {side}, extra memory", str(ratio(ours, theirs, "extra_mib"))),
            (f"{side}, share of responses equal to ours", same_share(ours, theirs)),
        ]
    report("generation", {**setting, "pairs": args.pairs, "threads": 1}, rows)


if __name__ == "__main__":
    main()
