"""Files and folders that are whole or absent."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nt_lightning import files
from nt_lightning.errors import UserError
from nt_lightning.files import (
    cache_dir,
    digest,
    replacing_file,
    replacing_folder,
    sha256_file,
    sweep,
    tidy_at_sigterm,
    waiting_folder,
    write_json,
)


class CrashError(Exception):
    pass


def crash_after(write, *args):
    write(*args)
    raise CrashError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_cache_dir(monkeypatch):
    monkeypatch.setenv("NT_CACHE", "~/one")
    assert cache_dir() == Path.home() / "one"
    monkeypatch.delenv("NT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_dir() == Path("/two/nt_lightning")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "nt_lightning"


def test_digests(tmp_path):
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    (tmp_path / "empty").touch()
    assert sha256_file(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_a_file_is_replaced_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing_file(path) as partial:
        partial.write_text("one")
        assert not path.exists()
    with pytest.raises(CrashError), replacing_file(path) as partial:
        crash_after(partial.write_text, "two")
    assert path.read_text() == "one"
    write_json(path, {"ü": 1})
    assert path.read_text() == '{\n  "ü": 1\n}\n'
    assert names(path.parent) == ["file"]


def test_a_folder_is_replaced_when_it_is_whole(tmp_path):
    path = tmp_path / "folder"
    for content in ("one", "two"):
        with replacing_folder(path) as partial:
            (partial / "deep").mkdir()
            (partial / "deep" / content).write_text(content)
    assert names(path / "deep") == ["two"]
    with pytest.raises(CrashError), replacing_folder(path) as partial:
        crash_after((partial / "three").touch)
    assert names(path / "deep") == ["two"]
    assert names(tmp_path) == ["folder"]


def test_the_old_folder_returns_when_the_last_rename_fails(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    with replacing_folder(path) as partial:
        (partial / "one").touch()
    rename = files.os.replace

    def refuse(source, target):
        if ".partial" in str(source):
            raise PermissionError(13, "no")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", refuse)
        with pytest.raises(PermissionError), replacing_folder(path) as partial:
            (partial / "two").touch()
    assert names(path) == ["one"]
    assert names(tmp_path) == ["folder"]


def test_two_at_once_leave_one_whole_folder(tmp_path):
    path, failed = tmp_path / "folder", []

    def write(number):
        try:
            for _ in range(10):
                with replacing_folder(path) as partial:
                    for name in ("a", "b"):
                        (partial / name).write_text(str(number))
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert (path / "a").read_text() == (path / "b").read_text()
    assert names(tmp_path) == ["folder"]


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(UserError, match="taken is a file"), replacing_folder(tmp_path / "taken"):
        pass


# -- what killed processes leave -------------------------------------------------------------------


@pytest.fixture
def dead():
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(monkeypatch, path, pid, ending="partial", host=None):
    """What a process with this id leaves beside a path; returns the name."""
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "getpid", lambda: pid)
        if host:
            patch.setattr(files.platform, "node", lambda: host)
        return files._beside(path, ending)


def test_what_a_dead_process_left_is_removed(tmp_path, monkeypatch, dead):
    path = tmp_path / "a[1].jsonl"
    leave(monkeypatch, path, dead).write_text("half")
    folder = leave(monkeypatch, path, dead)
    (folder / "deep").mkdir(parents=True)
    stay = [
        leave(monkeypatch, path, os.getpid()),
        leave(monkeypatch, path, 1),  # another user's, it may be
        leave(monkeypatch, path, dead, host="another"),
        leave(monkeypatch, tmp_path / "a", dead),
        leave(monkeypatch, tmp_path / "a[1].jsonl.quarantine.jsonl", dead),
        leave(monkeypatch, tmp_path / "a1.jsonl", dead),
        path.with_name(f".{path.name}.swp"),
        path.with_name(f".{path.name}.0123abcd.partial"),  # says no process
    ]
    for one in stay:
        one.touch()
    sweep(path)
    assert names(tmp_path) == sorted(one.name for one in stay)
    sweep(tmp_path / "no" / "such")


def test_a_folder_that_was_moved_away_comes_back(tmp_path, monkeypatch, dead):
    path = tmp_path / "pool"
    old = leave(monkeypatch, path, dead, "old")
    old.mkdir()
    (old / "one").touch()
    leave(monkeypatch, path, dead).mkdir()
    sweep(path)
    assert names(tmp_path) == ["pool"]
    assert names(path) == ["one"]
    leave(monkeypatch, path, dead, "old").mkdir()  # the new one is in its place
    with replacing_folder(path) as partial:
        assert names(tmp_path) == sorted(["pool", partial.name])
        (partial / "two").touch()
    assert names(tmp_path) == ["pool"]
    assert names(path) == ["two"]


def test_a_waiting_folder_goes(tmp_path):
    with pytest.raises(CrashError), waiting_folder(tmp_path / "new" / "pool") as folder:
        crash_after((folder / "one").touch)
    assert names(tmp_path / "new") == []


def test_a_second_sigterm_does_not_cut_off_the_tidying():
    before, done = signal.getsignal(signal.SIGTERM), []

    def work():
        with tidy_at_sigterm():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("tidied")

    with pytest.raises(SystemExit) as stop:
        work()
    assert stop.value.code == 143
    assert done == ["tidied"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_is_left_to_a_body_that_stops_by_itself():
    done = []
    with tidy_at_sigterm(lambda: True):
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("went on")
    assert done == ["went on"]


def test_sigterm_tidies(tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def write():
        with tidy_at_sigterm(), replacing_folder(tmp_path / "folder") as partial:
            (partial / "one").touch()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as stopped:
        write()
    assert stopped.value.code == 143
    assert names(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_hears_no_signals():
    heard = []

    def run():
        with tidy_at_sigterm():
            heard.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert heard == [signal.getsignal(signal.SIGTERM)]


def test_ctrl_c_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    """Of a folder, which cannot be replaced at once."""
    place, rename, count = tmp_path / "a", os.replace, []
    place.mkdir()
    (place / "old").touch()

    def stopped(source, target):
        count.append(target)
        if len(count) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt), replacing_folder(place) as partial:
        (partial / "new").touch()
    assert [path.name for path in place.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
