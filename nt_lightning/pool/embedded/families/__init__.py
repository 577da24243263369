"""The families of the embedded pool, in the order in which pools take them."""

from __future__ import annotations

from typing import Any

from nt_lightning.pool.embedded.families.aiw import AliceInWonderland
from nt_lightning.pool.embedded.families.calendar_arithmetic import CalendarArithmetic
from nt_lightning.pool.embedded.families.chain_sum import ChainSum
from nt_lightning.pool.embedded.families.complex_arithmetic import ComplexArithmetic
from nt_lightning.pool.embedded.families.family_relationships import FamilyRelationships
from nt_lightning.pool.embedded.families.needle_haystack import NeedleHaystack
from nt_lightning.pool.embedded.families.number_sequence import NumberSequence
from nt_lightning.pool.embedded.families.simple_equations import SimpleEquations
from nt_lightning.pool.embedded.families.word_sequence_reversal import WordSequenceReversal
from nt_lightning.pool.embedded.family import Family

FAMILIES: dict[str, Family[Any]] = {
    family.name: family
    for family in (
        ChainSum(),
        CalendarArithmetic(),
        SimpleEquations(),
        ComplexArithmetic(),
        WordSequenceReversal(),
        NeedleHaystack(),
        AliceInWonderland(),
        FamilyRelationships(),
        NumberSequence(),
    )
}
# A 135M student learns these in minutes; number_sequence it answers better without thinking.
DEFAULT_FAMILIES = tuple(name for name in FAMILIES if name != "number_sequence")
