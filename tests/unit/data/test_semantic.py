"""Selections by embeddings: planted clusters, and neighbours against their definition."""

import numpy as np
import pyarrow as pa
import pytest

from nt_lightning.data import neighbours
from nt_lightning.data.semantic import NearestNeighbourSelection, SemanticSelection
from nt_lightning.data.vectors import as_column, as_vectors
from nt_lightning.errors import UserError
from nt_lightning.traces.embeddings import Part, key_numbers, text_digest, write_embeddings
from nt_lightning.traces.pool import QUESTION_KEY, write_pool
from tests.tiny import tiny_rows

RNG = np.random.default_rng(5)
MODEL = "planted"
SIZES = (400, 200, 60, 30)


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)


def table(vectors):
    ids = pa.array([f"t{i}" for i in range(len(vectors))])
    return pa.table([ids, as_column(vectors)], names=["id", f"question_embedding/{MODEL}"])


def planted(noise=60):
    centres = RNG.normal(size=(len(SIZES), 48))
    tight = [c + 0.08 * RNG.normal(size=(n, 48)) for c, n in zip(centres, SIZES, strict=True)]
    return unit(np.concatenate([*tight, RNG.normal(size=(noise, 48))]))


PLANTED = planted()
GROUP = np.repeat(np.arange(5), [*SIZES, 60])


def semantic(**arguments):
    return SemanticSelection(embedding_model=MODEL, min_cluster_size=15, **arguments)


def test_a_column_of_vectors_and_back():
    vectors = PLANTED[:7]
    column = pa.chunked_array([as_column(vectors[:3]), as_column(vectors[3:])])
    assert (as_vectors(column) == vectors).all()
    taken = column.take(pa.array([5, 0]))
    assert (as_vectors(taken) == vectors[[5, 0]]).all()
    assert (as_vectors(pa.chunked_array([as_column(vectors).slice(2, 3)])) == vectors[2:5]).all()


def test_clusters_give_the_same_number_each_and_small_ones_all():
    rows, reasons, details = semantic().select(table(PLANTED), 240, 0)
    groups = reasons.codes
    assert details["num_clusters"] == 4
    assert details["agreement"] > 0.99
    for planted_group in range(4):  # found as planted; some noise lies near enough to join
        (label,) = np.unique(groups[planted_group == GROUP])
        assert (groups == label).sum() <= SIZES[planted_group] + 8
    sizes = np.bincount(groups, minlength=5)
    taken = np.bincount(groups[rows], minlength=5)
    assert taken[sizes < 48].tolist() == sizes[sizes < 48].tolist()
    assert np.ptp(taken[sizes >= 52]) <= 1
    assert details["noise_share"] == round(sizes[4] / 750, 5)
    assert {one["name"]: one["size"] for one in details["clusters"]} == reasons.counts()


def test_the_audit_names_what_is_nearest_to_each_centre():
    _, reasons, details = semantic().select(table(PLANTED), 240, 0)
    for number, one in enumerate(details["clusters"][:4]):
        members = np.flatnonzero(reasons.codes == number)
        exact = PLANTED[members].astype(np.float64)
        order = members[np.argsort(-(exact @ exact.mean(0)))[:3]]
        assert {int(name[1:]) for name in one["nearest_ids"]} == set(order)
    assert details["clusters"][4]["name"] == "noise"
    assert details["clusters"][4]["nearest_ids"] == []


def test_noise_can_be_left_out():
    rows, reasons, _ = semantic(noise="drop").select(table(PLANTED), 750, 0)
    assert sorted(rows) == np.flatnonzero(reasons.codes < 4).tolist()
    assert 45 <= 750 - len(rows) <= 60


def test_the_same_for_any_order_and_shards_and_nested():
    small = semantic().select(table(PLANTED), 100, 3).rows
    assert small.tolist() == semantic().select(table(PLANTED), 300, 3).rows[:100].tolist()
    order = RNG.permutation(len(PLANTED))
    shuffled = table(PLANTED).take(pa.array(order))
    shards = pa.concat_tables([shuffled.slice(0, 99), shuffled.slice(99)])
    assert order[semantic().select(shards, 100, 3).rows].tolist() == small.tolist()


@pytest.mark.parametrize("kind", ["giant", "noise", "equal"])
def test_pools_without_structure(kind):
    scale = {"giant": 0.05, "noise": 1.0, "equal": 0.0}[kind]
    centre = RNG.normal(size=48) * (kind != "noise")
    vectors = unit(centre + scale * RNG.normal(size=(300, 48)))
    rows, reasons, details = semantic().select(table(vectors), 50, 0)
    assert len(set(rows)) == 50
    assert sum(reasons.counts().values()) == 300
    assert sum(one["size"] for one in details["clusters"]) == 300


def test_fewer_questions_than_a_cluster():
    with pytest.raises(UserError, match="min_cluster_size is 15"):
        semantic().select(table(PLANTED[:9]), 3, 0)


@pytest.fixture
def curated(tmp_path):
    """A pool of curated questions with embeddings near to three of the groups."""
    pool = write_pool(tiny_rows(12), tmp_path / "curated", {})
    keys = np.unique(key_numbers(pool.read([QUESTION_KEY])[QUESTION_KEY]))
    places = np.arange(len(keys))
    vectors = unit(PLANTED[RNG.choice(700, len(keys))] + 0.02 * RNG.normal(size=(len(keys), 48)))
    info = {
        "model_name": MODEL,
        "text_digest": text_digest(keys),
        "created": "2026-01-01T00:00:00+00:00",
    }
    folder = pool.folder / "columns" / "embedding-0"
    write_embeddings(folder, keys, 48, [Part(places, vectors)], info)
    return str(pool.folder), vectors


def naive_neighbours(vectors, curated, size):
    near = np.round(curated.astype(np.float64) @ vectors.T.astype(np.float64), 6)
    orders, taken = np.argsort(-near, axis=1, kind="stable"), []
    while len(taken) < size:
        for order in orders:
            if len(taken) < size:
                taken.append(next(row for row in order if row not in taken))
    return taken, near.max(0)


@pytest.mark.parametrize("size", [1, 12, 100])
def test_curated_questions_take_turns(curated, size):
    folder, seeds = curated
    data = NearestNeighbourSelection(neighbours_of=folder, embedding_model=MODEL)
    rows, reasons, details = data.select(table(PLANTED), size, 0)
    taken, best = naive_neighbours(PLANTED, seeds, size)
    assert rows.tolist() == taken
    assert reasons.counts()["similarity 0.9 and more"] == (best >= 0.9).sum()
    assert details == {"curated_questions": 12}
    order = RNG.permutation(len(PLANTED))
    again = data.select(table(PLANTED).take(pa.array(order)), size, 0).rows
    assert order[again].tolist() == taken


@pytest.mark.parametrize("size", [600, 750])
def test_hardly_any_candidate_is_left(curated, size):
    folder, seeds = curated
    data = NearestNeighbourSelection(neighbours_of=folder, embedding_model=MODEL)
    rows = data.select(table(PLANTED), size, 0).rows
    taken, _ = naive_neighbours(PLANTED, seeds, size)
    assert rows[:100].tolist() == taken[:100]
    assert len(set(rows)) == len(taken)
    assert len(set(rows) ^ set(taken)) <= 4  # similarities that differ in the seventh digit


def test_lists_that_are_used_up_are_made_anew(curated, monkeypatch):
    folder, _ = curated
    data = NearestNeighbourSelection(neighbours_of=folder, embedding_model=MODEL)
    rows = data.select(table(PLANTED), 700, 0).rows
    monkeypatch.setattr(neighbours, "LISTED", 12)
    monkeypatch.setattr(neighbours, "BLOCK", 100)
    again = data.select(table(PLANTED), 700, 0).rows
    assert len(set(again) ^ set(rows)) <= 4
    assert again[:100].tolist() == rows[:100].tolist()
    with pytest.raises(UserError, match="keeps no number of its own"):
        data.select(table(PLANTED), None, 0)


def test_embeddings_of_another_kind_are_refused(curated):
    folder, _ = curated
    data = NearestNeighbourSelection(neighbours_of=folder, embedding_model=MODEL)
    other = table(PLANTED)
    field = other.schema.field(1).with_metadata({"made by": "somebody else"})
    other = other.cast(pa.schema([other.schema.field(0), field]))
    with pytest.raises(UserError, match="differ in the model's weights or in max_tokens"):
        data.select(other, 3, 0)


def test_equal_questions_are_taken_by_luck_and_no_curated_pool_is_said(curated):
    folder, seeds = curated
    data = NearestNeighbourSelection(neighbours_of=folder, embedding_model=MODEL)
    doubled = table(np.repeat(seeds[:1], 300, axis=0))
    rows = {tuple(data.select(doubled, 20, seed).rows) for seed in (0, 1)}
    assert len(rows) == 2
    with pytest.raises(UserError, match="pool embed --pool .* --model_name other"):
        NearestNeighbourSelection(neighbours_of=folder, embedding_model="other").select(
            table(PLANTED), 3, 0
        )
