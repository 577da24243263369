"""python -m tests.benchmarks.naturalness [--traces 50] [--pairs 5]

Local naturalness of real DeepSeek-R1 traces by SmolLM2-135M, float32, one thread: exact packed
scoring of every window 0..4 (``all``) and of window 4 alone (``one``), each with the whole response
and its ranks, against a pass over the whole responses alone (``global``), against the definition
(``naive``: one forward per step, batch 1, head on scored rows) and against ``padded`` batches of 16
with the model's own logits, sorted by length so that little is padding. These two compute window 4
and the whole. The traces are shared out over the pairs, so that load that comes and goes meets all
sides alike; the warm-up has one trace. ``--traces 4 --pairs 2`` is a first look.

The floor counts multiplications: body, head on scored rows, causal attention. Scores are equal
first; then CPU-seconds and memory. ``--memory`` scores one response of 16,000 tokens with a
vocabulary of 128,000 on a tiny body instead.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.protocol import Meter, Result, alternate, fresh_process, median_of, ratio
from tests.benchmarks.protocol import report as print_report

NAME = "tests.benchmarks.naturalness"
MODEL = "smollm2-135m-instruct"
REPLIES = (
    Path(__file__).parents[3]
    / "shared/data/mip_overthinking/response/gsm8k/normal/deepseekR1/response.json"
)
SIDES = ("global", "one", "all", "naive", "padded")
BARS = {
    "time over floor": "<= 1.25",
    "all / one, cpu": "<= 1.4",
    "naive / one, cpu": ">= 2",
    "padded / one, cpu": ">= 3",
    "one / padded, extra memory": "<= 0.35",
}
WINDOWS: dict[str, tuple[int, ...]] = {"global": (), "one": (4,), "all": (0, 1, 2, 3, 4)}
ROW_TOKENS = 8192
BATCH = 16


def load_traces(count: int, tokens: int, part: int = 0, parts: int = 1) -> list[Any]:
    """Every ``parts``-th of the traces nearest to a number of tokens, split into sentences."""
    from transformers import AutoTokenizer

    from nt_lightning.models import model_path
    from nt_lightning.student.naturalness.encode import ResponseEncoder
    from nt_lightning.traces.formatting import PromptFormatter

    encoder = ResponseEncoder(PromptFormatter(AutoTokenizer.from_pretrained(model_path(MODEL))))
    traces = []
    for number, row in enumerate(json.loads(REPLIES.read_text())):
        reasoning, _, answer = row["deepseek-reasoner (question)"].rpartition("</think>")
        texts = (row["question"], reasoning.strip(), answer.strip())
        traces.append(encoder.encode(str(number), *texts))
    return sorted(traces, key=lambda trace: abs(len(trace.response) - tokens))[:count][part::parts]


def load_model() -> Any:
    """The scorer with SmolLM2."""
    from nt_lightning.student.naturalness.scorer import NaturalnessScorer

    scorer = NaturalnessScorer(MODEL)
    scorer.configure_model()
    return scorer.eval()


def run_ours(scorer: Any, traces: list[Any], windows: tuple[int, ...]) -> Result:
    """Packed scores, and how much of the row's arithmetic was ours to do."""
    from nt_lightning.student.naturalness.layout import ScoreSpec, plan_response
    from nt_lightning.student.naturalness.rows import make_batch

    spec = ScoreSpec(windows, ifd=False, context=scorer.context)
    with Meter() as meter:
        batch = make_batch([plan_response(trace, spec) for trace in traces], spec, ROW_TOKENS)
        found = scorer.score_batch(batch)
    lalp = [one.lalp.get("4") for one in found]
    galp = [one.whole.galp for one in found]
    tokens = sum(row.input_ids.shape[1] for row in batch.rows)
    return meter.result(lalp=lalp, galp=galp, tokens=tokens, tflop=tera_flops(scorer, batch.rows))


def tera_flops(scorer: Any, rows: Any) -> float:
    """Multiplications and additions that the layout needs."""
    config = scorer.model.config
    head = config.vocab_size * config.hidden_size
    body = sum(p.numel() for p in scorer.model.model.parameters()) - head
    width = config.num_attention_heads * config.head_dim * config.num_hidden_layers
    total = 0.0
    for row in rows:
        seen = 0.0  # pairs of query and key
        for prefix, runs in row.layout.segments:
            seen += prefix**2 / 2 + sum(run * (prefix + run / 2) for run in runs)
        total += 2 * body * row.input_ids.shape[1] + 4 * width * seen + 2 * head * len(row.targets)
    return total / 1e12


def run_rival(scorer: Any, traces: list[Any], side: str) -> Result:
    """Window 4 and the whole by one forward each, or by padded batches of 16."""
    scorer.model.set_attn_implementation("sdpa")
    jobs = [pair for trace in traces for pair in windows_of(trace)]
    with Meter() as meter, torch.no_grad():
        sums = naive(scorer.model, jobs) if side == "naive" else padded(scorer.model, jobs)
    lalp, galp, at = [], [], 0
    for trace in traces:
        mine = sums[at : at + 1 + len(trace.step_lengths)]
        at += len(mine)
        galp.append(mine[0] / len(trace.response))
        lalp.append(float(np.mean(np.array(mine[1:]) / trace.step_lengths)))
    return meter.result(lalp=lalp, galp=galp, tokens=sum(len(c) + len(t) for c, t in jobs))


def windows_of(trace: Any) -> list[tuple[list[int], list[int]]]:
    """Context and target of the whole, then of every step with four before it."""
    borders = np.concatenate([[0], np.cumsum(trace.step_lengths)])
    prompt, response = trace.prompt.tolist(), trace.response.tolist()
    pairs = [(prompt, response)]
    for step in range(len(trace.step_lengths)):
        start, end = borders[step], borders[step + 1]
        pairs.append((prompt + response[borders[max(0, step - 4)] : start], response[start:end]))
    return pairs


def naive(model: Any, pairs: list[tuple[list[int], list[int]]]) -> list[float]:
    """Sums of log-probabilities; one forward per pair, the head on the target's rows."""
    sums = []
    for context, target in pairs:
        ids = torch.tensor([context + target])
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[0]
        logits = model.lm_head(hidden[len(context) - 1 : -1])
        picked = logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None])
        sums.append(float(picked.sum()))
    return sums


def padded(model: Any, pairs: list[tuple[list[int], list[int]]]) -> list[float]:
    """Sums of log-probabilities; right-padded batches of 16, by length."""
    sums = [0.0] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    for start in range(0, len(order), BATCH):
        group = order[start : start + BATCH]
        rows = [torch.tensor(pairs[i][0] + pairs[i][1]) for i in group]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.arange(ids.shape[1])[None] < torch.tensor([[len(row)] for row in rows])
        logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
        picked = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
        for row, index in enumerate(group):
            context, target = pairs[index]
            span = slice(len(context) - 1, len(context) + len(target) - 1)
            sums[index] = float(picked[row, span].sum())
    return sums


def run_memory() -> Result:
    """One response of 16,000 tokens, vocabulary 128,000, a tiny body: peak memory."""
    from nt_lightning.student.naturalness.layout import ResponseTokens, ScoreSpec, plan_response
    from nt_lightning.student.naturalness.rows import make_batch
    from nt_lightning.student.naturalness.scorer import NaturalnessScorer
    from tests.tiny import save_tiny_student

    with tempfile.TemporaryDirectory() as folder:
        sizes = {"vocab_size": 128_000, "max_position_embeddings": 32_768}
        scorer = NaturalnessScorer(save_tiny_student(Path(folder), **sizes))
        scorer.configure_model()
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, 128_000, size) for size in (100, 16_000)]
    trace = ResponseTokens("long", *ids, np.full(800, 20))
    with Meter() as meter:
        batch = make_batch([plan_response(trace, ScoreSpec())], ScoreSpec(), ROW_TOKENS)
        scorer.eval().score_batch(batch)
    return meter.result(tokens=sum(row.input_ids.shape[1] for row in batch.rows))


Runs = dict[str, list[Result]]
Rows = list[tuple[str, object]]


def check_equal(results: Runs) -> None:
    """Scores of all sides are equal first."""
    want = results["all"][0]
    for side, runs in results.items():
        assert np.allclose(runs[0]["galp"], want["galp"], atol=1e-4), side
        if side != "global":
            assert np.allclose(runs[0]["lalp"], want["lalp"], atol=1e-4), side


def medians(results: Runs) -> Rows:
    """What every side took."""
    keys = ("cpu_s", "wall_s", "extra_mib", "tokens")
    return [
        (f"{side}, {key}", float(median_of(runs, key)))
        for side, runs in results.items()
        for key in keys
    ]


def tera_flop_of(runs: list[Result]) -> float:
    """Of all parts."""
    return sum(run["tflop"] for run in runs)


def rows_of_ours(results: Runs) -> Rows:
    """Against a global pass: the layout's floor, and the time over it."""
    rows: Rows = []
    for side in ("one", "all"):
        floor = tera_flop_of(results[side]) / tera_flop_of(results["global"])
        times = ratio(results[side], results["global"], "cpu_s")
        over = f"{times.median / floor:.2f} ({times.low / floor:.2f} to {times.high / floor:.2f})"
        rows.append((f"{side} / global, floor", floor))
        rows.append((f"{side} / global, cpu", str(times)))
        rows.append((f"{side}, time over floor", over))
    rows.append(("all / one, cpu", str(ratio(results["all"], results["one"], "cpu_s"))))
    return rows


def rows_of_rivals(results: Runs) -> Rows:
    """Against the definition and padded batches."""
    rows: Rows = []
    for side in ("one", "all"):
        for rival in ("naive", "padded"):
            for key, name in (("cpu_s", "cpu"), ("wall_s", "wall")):
                quotient = ratio(results[rival], results[side], key)
                rows.append((f"{rival} / {side}, {name}", str(quotient)))
        memory = ratio(results[side], results["padded"], "extra_mib")
        rows.append((f"{side} / padded, extra memory", str(memory)))
    return rows


def with_bars(rows: Rows) -> Rows:
    """Labels with the bars that they are held against."""
    return [
        (next((f"{label} [{bar}]" for end, bar in BARS.items() if label.endswith(end)), label), x)
        for label, x in rows
    ]


def main() -> None:
    """Measure one side, or compare all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--traces", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=500, help="about so many in a response")
    parser.add_argument("--pairs", type=int, default=5, help="rounds that share the traces out")
    parser.add_argument("--part", type=int, default=0, help="with --side: the round, from 0")
    parser.add_argument("--memory", action="store_true", help="the long response alone")
    parser.add_argument("--side", choices=SIDES, help="this side alone, in this process")
    args = parser.parse_args()
    if args.memory:
        print(json.dumps(run_memory()))
        return
    if args.side:
        traces = load_traces(args.traces, args.tokens, args.part, args.pairs)
        if args.side in WINDOWS:
            result = run_ours(load_model(), traces, WINDOWS[args.side])
        else:
            result = run_rival(load_model(), traces, args.side)
        print(json.dumps(result))
        return
    setting = {"tokens": args.tokens, "traces": 1, "pairs": 1}
    for side in SIDES:
        fresh_process(NAME, side, setting)
    setting |= {"traces": args.traces, "pairs": args.pairs}
    results: Runs = {side: [] for side in SIDES}
    for part in range(args.pairs):
        order = SIDES if part % 2 else SIDES[::-1]
        given = {**setting, "part": part}
        found = alternate(order, lambda side, o=given: fresh_process(NAME, side, o), 1, warm=0)
        check_equal(found)
        for side in SIDES:
            results[side] += found[side]
    rows = [*medians(results), *with_bars([*rows_of_ours(results), *rows_of_rivals(results)])]
    print_report("naturalness", {k: v for k, v in vars(args).items() if v}, rows)


if __name__ == "__main__":
    main()
