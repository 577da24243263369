"""The C library's memory settings, where it has them."""

import ctypes
import platform

import pytest

from nt_lightning.student.host_memory import keep_freed_blocks


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_glibc_takes_the_setting():
    assert keep_freed_blocks()


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_freed_blocks()
