"""Memory that a step frees is there for the next one: hardly a page of it is asked for again."""

import gc
import platform
import subprocess
import sys

import pytest

from src.common.allocator import uncollected
from tests.conftest import ROOT

FAULTS = """
import resource, sys
from src.common.allocator import keep_freed
if sys.argv[1] == "kept":
    keep_freed()
import torch
def step():
    torch.ones(20 * 2**20)  # 80 MiB
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
least = []
for _ in range(8):
    before = faults()
    step()
    least.append(faults() - before)
print(min(least[1:]))  # what the system does to pages beside (compaction, NUMA) comes in single steps
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_step_asks_for_no_page_twice() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)

    # where the heap begins is left to chance, and with it some pages at its end
    assert 10 * faults("kept") < faults("given back")


GIVEN_BACK = """
import os, sys
from src.common.allocator import give_back, keep_freed
keep_freed()
import torch
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
kept = [torch.ones(2**20) for _ in range(40)]  # 4 MiB each
del kept[::2]
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_what_is_free_is_given_back_when_asked() -> None:
    command = [sys.executable, "-c", GIVEN_BACK]
    freed = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert 70 * 2**20 < freed < 100 * 2**20


def test_garbage_is_looked_for_again_after_the_imports() -> None:
    assert gc.isenabled()
    with pytest.raises(ImportError), uncollected():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled(), "as it was found"
    finally:
        gc.enable()
        gc.unfreeze()


def test_a_process_that_loaded_the_libraries_ends_without_a_word() -> None:
    code = "import gc; from src.run import load_pytorch; load_pytorch(); print(gc.get_freeze_count(), gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    frozen, enabled = done.stdout.split()
    assert int(frozen) > 100_000 and enabled == "True" and done.stderr == ""
