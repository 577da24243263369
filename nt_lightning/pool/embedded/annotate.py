"""Reading annotations back from the text of a trace, by rules that do not know who wrote it."""

from __future__ import annotations

import math
import re

# What in the text shows a strategy: our choice. The vocabulary is closed; a rule looks at the
# fixed words at the start or the end of a line, so that the words of a question cannot set it off.
STRATEGIES: dict[str, re.Pattern[str]] = {
    "step-by-step": re.compile(r"^First .*\n(?:.*\n)*?Then ", re.MULTILINE),
    "decomposition": re.compile(
        r"^(?:First t|T)he (?:real|added|first|numbers added)|^Split ", re.M
    ),
    "enumeration": re.compile(r"^(?:First |List: )?1 [^,\n]+, 2 [^,\n]+", re.MULTILINE),
    "self-verification": re.compile(r"^Check: ", re.MULTILINE),
    "trial-and-error": re.compile(r"^(?:Go back and try|Try) ", re.MULTILINE),
    "backtracking": re.compile(r" wrong\.\nGo back ", re.MULTILINE),
}
