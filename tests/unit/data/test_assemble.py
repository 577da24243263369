"""Which columns of the pool a selection and a mixing get."""

import pytest

from nt_lightning.data.mixing import Mixing
from nt_lightning.data.selections import RandomSelection
from nt_lightning.errors import UserError
from nt_lightning.traces.pool import write_pool
from tests.tiny import save_tiny_pool, save_tiny_student, tiny_rows


class ByVerbosity(RandomSelection):
    selection_columns = ("verbosity",)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_tiny_student(tmp_path_factory.mktemp("student"))


def test_a_selection_column_that_the_pool_lacks_is_named(student, tmp_path):
    pool = save_tiny_pool(tmp_path / "pool")
    with pytest.raises(UserError, match="column 'verbosity' is missing; .* the pool has: id, "):
        ByVerbosity(pool, student).prepare_data()


def test_mixing_names_its_own_column(student, tmp_path):
    write_pool(tiny_rows(8).drop_columns(["models_agree"]), tmp_path / "pool", {})
    with pytest.raises(UserError, match="mixing by difficulty needs the column 'models_agree'"):
        RandomSelection(str(tmp_path / "pool"), student, mixing=Mixing("difficulty")).prepare_data()
