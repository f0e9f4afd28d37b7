"""Building, loading and choosing the native library. Oracles: files on disk, a forked child, a second process."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.native import build, library
from lexiscope.saes.kernels.native.library import I64, SIZE, Function

DOUBLE = Function("lx_double_indices", I64, SIZE)
needs_native = pytest.mark.skipif(library.loaded().dll is None, reason=f"no native library: {library.loaded().reason}")


def doubled(count):
    out = torch.full((count,), -1)
    DOUBLE(out, count)
    return out


@needs_native
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_chunk_runs_once_on_any_number_of_threads(count, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(doubled(count), 2 * torch.arange(count))
    finally:
        torch.set_num_threads(before)


@needs_native
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_computes_and_does_not_hang():
    """The parent's OpenMP threads are up before the fork; the child has none of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        doubled(10_000)
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(doubled(1000), 2 * torch.arange(1000)) else 1)
        for _ in range(300):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.1)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        assert status == 0
    finally:
        torch.set_num_threads(before)


@needs_native
def test_arguments_are_checked():
    for wrong in (torch.zeros(4), torch.zeros(4, 4, dtype=torch.int64)[:, 1], None):
        with pytest.raises(AssertionError, match="argument 0"):
            DOUBLE(wrong, 4)


@needs_native
def test_two_processes_build_one_library(tmp_path):
    code = "from lexiscope.saes.kernels.native.build import build; print(build())"
    environment = {**os.environ, "LEXISCOPE_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {process.communicate()[0].strip() for process in both}
    assert all(process.returncode == 0 for process in both)
    kept = {str(path) for path in (tmp_path / "native").glob("*.so")}
    assert paths == kept
    assert len(kept) == 1


@needs_native
def test_a_home_that_cannot_be_written_moves_the_cache(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("LEXISCOPE_CACHE", str(blocked))
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(tmp_path))
    assert build._folder().parent == tmp_path


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files on this system")
def test_a_folder_that_others_can_write_to_is_not_trusted(tmp_path):
    """Whoever can write there could make us load their code."""
    tmp_path.chmod(0o777)
    assert not build._is_private(tmp_path)


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_working_compiler_the_build_says_why(compiler, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("LEXISCOPE_CACHE", str(tmp_path))
    with pytest.raises(build.BuildError, match=compiler):
        build.build()


def test_without_a_library_stock_serves_and_the_report_says_why(monkeypatch):
    monkeypatch.setattr(library, "loaded", lambda: library.Loaded(None, None, "no C++ compiler on the path"))
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    assert backend.path(torch.zeros(3)) == "stock"
    assert backend.report()["cpu"] == "stock: no C++ compiler on the path"
    with pytest.raises(InputError, match=r"no C\+\+ compiler on the path"), backend.use("native"):
        pass


def test_an_unknown_path_is_refused_by_name(monkeypatch):
    with pytest.raises(InputError, match=r"'fast'.*dense, stock, native, triton"), backend.use("fast"):
        pass
    monkeypatch.setenv(backend.VARIABLE, "fast")
    with pytest.raises(InputError, match=backend.VARIABLE):
        backend.path(torch.zeros(3))


def test_asking_lasts_for_the_block_and_beats_the_environment(monkeypatch):
    monkeypatch.setenv(backend.VARIABLE, "stock")
    assert backend.path(torch.zeros(3)) == "stock"
    with backend.use("dense"):
        assert backend.path(torch.zeros(3)) == "dense"
        assert backend.report()["cpu"] == "dense (asked for: dense)"
    assert backend.path(torch.zeros(3)) == "stock"


@needs_native
def test_what_native_cannot_serve_goes_to_stock():
    with backend.use("native"):
        assert backend.path(torch.zeros(3)) == "native"
        assert backend.path(torch.zeros(3, dtype=torch.float64)) == "stock"
        assert backend.path(torch.zeros(3), torch.zeros(3, device="meta")) == "stock"
