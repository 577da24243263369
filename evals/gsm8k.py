"""GSM8K: grade school word problems, the answer a number."""

from __future__ import annotations

from nt_lightning.evaluation.benchmark import Problem
from nt_lightning.evaluation.benchmark_data import HubTable, text_id
from nt_lightning.evaluation.few_shot import FewShotBenchmark
from nt_lightning.evaluation.grading import parse_number
from nt_lightning.evaluation.table_rows import TableRow

INSTRUCTION = (
    "Solve this math problem. Give the final answer on the last line by itself in the format of "
    '"Answer:". Do not add anything other than the integer answer after "Answer:".'
)
SHOTS = (
    (
        "There are 15 trees in the grove. Grove workers will plant trees in the grove today. After "
        "they are done, there will be 21 trees. How many trees did the grove workers plant today?",
        "There are 15 trees originally. Then there were 21 trees after some more were planted. So "
        "there must have been 21 - 15 = 6. The answer is 6.",
    ),
    (
        "If there are 3 cars in the parking lot and 2 more cars arrive, how many cars are in the "
        "parking lot?",
        "There are originally 3 cars. 2 more cars arrive. 3 + 2 = 5. The answer is 5.",
    ),
    (
        "Leah had 32 chocolates and her sister had 42. If they ate 35, how many pieces do they "
        "have left in total?",
        "Originally, Leah had 32 chocolates. Her sister had 42. So in total they had 32 + 42 = 74. "
        "After eating 35, they had 74 - 35 = 39. The answer is 39.",
    ),
    (
        "Jason had 20 lollipops. He gave Denny some lollipops. Now Jason has 12 lollipops. How "
        "many lollipops did Jason give to Denny?",
        "Jason started with 20 lollipops. Then he had 12 after giving some to Denny. So he gave "
        "Denny 20 - 12 = 8. The answer is 8.",
    ),
    (
        "Shawn has five toys. For Christmas, he got two toys each from his mom and dad. How many "
        "toys does he have now?",
        "Shawn started with 5 toys. If he got 2 toys each from his mom and dad, then that is 4 "
        "more toys. 5 + 4 = 9. The answer is 9.",
    ),
    (
        "There were nine computers in the server room. Five more computers were installed each "
        "day, from monday to thursday. How many computers are now in the server room?",
        "There were originally 9 computers. For each of 4 days, 5 more computers were added. So "
        "5 * 4 = 20 computers were added. 9 + 20 is 29. The answer is 29.",
    ),
    (
        "Michael had 58 golf balls. On tuesday, he lost 23 golf balls. On wednesday, he lost 2 "
        "more. How many golf balls did he have at the end of wednesday?",
        "Michael started with 58 golf balls. After losing 23 on tuesday, he had 58 - 23 = 35. "
        "After losing 2 more, he had 35 - 2 = 33 golf balls. The answer is 33.",
    ),
    (
        "Olivia has $23. She bought five bagels for $3 each. How much money does she have left?",
        "Olivia had 23 dollars. 5 bagels for 3 dollars each will be 5 x 3 = 15 dollars. So she has "
        "23 - 15 dollars left. 23 - 15 is 8. The answer is 8.",
    ),
)  # Wei et al. (arXiv:2201.11903), table 20


class GSM8K(FewShotBenchmark):
    """1,319 problems of the test split; the reference is what stands behind ``####``.

    The prompt is the English one of MGSM in simple-evals without "Give the reasoning steps", which
    would contradict No-Think (our choice). The set has no ids; a problem's is a hash of its text.

    With ``num_shots: 8`` it is the chain-of-thought prompt of Wei et al.: eight examples that say
    "The answer is 6.", and no instruction. The last ``A:`` is left out, because the mode's
    instruction follows the question (our choice).

    Args:
        path: A local file with the columns of the set, such as its ``test.jsonl``; ``None`` loads
            it from the Hub, which needs the network once.
        seed: Order of the problems, so that the first n are a fair sample.
        revision: Commit, branch or tag on the Hub; ``None`` is the commit that the definition pins.
        num_shots: Examples in front of every question, from 0 to 8: the first ones.

    Source: Cobbe et al., Training Verifiers (arXiv:2110.14168); openai/simple-evals, mgsm_eval.py;
    Wei et al., Chain-of-Thought Prompting (arXiv:2201.11903), as EleutherAI/lm-evaluation-harness
    renders it in ``gsm8k_cot``.
    """

    name = "gsm8k"
    table = HubTable(
        "openai/gsm8k",
        split="test",
        revision="740312add88f781978c0658806c59bc2815b9866",
        config="main",
        size=1_319,
    )
    columns = ("question", "answer")
    max_shots = len(SHOTS)
    shots_origin = "arXiv:2201.11903, table 20"

    def problem(self, row: TableRow, repeat: int) -> Problem:
        """A question and the number of its solution."""
        stem = row.text("question").strip()
        _, hashes, gold = row.text("answer").rpartition("####")
        reference = gold.strip().replace(",", "")
        if not hashes or parse_number(reference) is None:
            raise row.error("column 'answer' has no number behind '####'")
        return Problem(
            id=text_id(stem),
            question=self._prompt(stem),
            reference_answer=reference,
            kind="number",
            metadata={"stem": stem},
        )

    def _prompt(self, stem: str) -> str:
        if not self.num_shots:
            return f"{INSTRUCTION}\n\n{stem}"
        shots = [f"Q: {question}\nA: {answer}" for question, answer in SHOTS[: self.num_shots]]
        return "\n\n".join([*shots, f"Q: {stem}"])
