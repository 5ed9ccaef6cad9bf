"""A function in a process of its own: whatever it does, the caller gets a value and nothing is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from many_models.child import CANCELLED, Answer, call
from many_models.protocols import Death
from tests.many_models import poison
from tests.many_models.processes import alive, gone, offspring

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes through /proc")
ROOT = Path(__file__).parents[2]
MEGABYTE = 2**20


LIGHT = """
import multiprocessing, multiprocessing.forkserver, os, sys, time
from many_models import fork_server
from many_models.child import call
fork_server.PRELOAD = ("cloudpickle",)
"""


def ids(_):
    return os.getpid(), os.getsid(0)


def doubled(value):
    return value * 2


def surroundings(_):
    return {
        "threads": os.environ["OMP_NUM_THREADS"],
        "mine": os.environ.get("MANY_MODELS_TEST"),
        "temporary": tempfile.gettempdir(),
        "loaded": "lightgbm" in sys.modules,
        "folder": os.getcwd(),
    }


@pytest.fixture(scope="module", autouse=True)
def warm():
    call(doubled, 1)


def test_the_value_comes_back_from_another_process_that_is_gone():
    answer = call(ids, None)
    pid, session = answer.value
    assert pid != os.getpid()
    assert session == pid
    assert not alive(pid)


def test_large_arguments_and_values_go_through():
    value = np.arange(3_000_000.0)
    answer = call(doubled, value)
    assert (answer.value == 2 * value).all()
    assert answer.peak > value.nbytes


def test_functions_without_a_module_go_through():
    shift = 3
    assert call(lambda x: x + shift, 4).value == 7


def test_a_child_has_one_thread_per_library_the_callers_environment_and_warm_libraries(monkeypatch, tmp_path):
    monkeypatch.setenv("MANY_MODELS_TEST", "here")
    monkeypatch.chdir(tmp_path)
    seen = call(surroundings, None, scratch=tmp_path).value
    assert seen["threads"] == "1"
    assert seen["mine"] == "here"
    assert seen["loaded"]
    assert seen["folder"] == str(tmp_path)
    assert Path(seen["temporary"]).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_the_callers_own_environment_stays():
    code = """
        before = dict(os.environ)
        call(abs, 1)
        print(dict(os.environ) == before, list(multiprocessing.forkserver._forkserver._preload_modules))
    """
    assert light(code).stdout == "True ['__main__']\n"


def test_the_server_has_no_thread_of_a_library_that_a_fork_would_break():
    code = """
        import os
        import many_models.preload
        names = {open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")}
        # The allocator's own thread knows of forks and begins again in the child.
        print(len(names - {"jemalloc_bg_thd"}), many_models.preload.MISSING)
    """
    assert python("-c", textwrap.dedent(code)).stdout == "1 ()\n"


def test_a_child_begins_in_milliseconds():
    """The best of ten, whatever else the machine does; loading the libraries takes seconds."""
    seconds = []
    for _ in range(10):
        began = time.monotonic()
        call(abs, 1)
        seconds.append(time.monotonic() - began)
    assert min(seconds) < 0.2


@pytest.mark.parametrize("kind", poison.REASONS)
def test_poison_is_a_value(kind, tmp_path):
    answer = call(
        poison.harm, kind, seconds=30 if poison.REASONS[kind] == "oom" else 1, memory=700 * MEGABYTE, scratch=tmp_path
    )
    if kind == "raises":
        assert isinstance(answer, Answer)
        assert (answer.error.type, answer.error.message) == ("ValueError", "poison")
        assert 'raise ValueError("poison")' in answer.error.traceback
        assert "builtins.ValueError" in answer.error.kinds
    else:
        assert isinstance(answer, Death)
        assert answer.reason == poison.REASONS[kind]
    assert list(tmp_path.iterdir()) == []


def test_a_crash_says_where():
    death = call(poison.harm, "crashes")
    assert "SIGSEGV" in death.text
    assert "poison.py" in death.text
    assert len(death.text) < 5000


def test_a_kill_from_outside_is_told_as_such():
    assert "killed from outside" in call(poison.harm, "is killed").text


def test_memory_over_the_limit_names_both():
    death = call(poison.harm, "eats", memory=600 * MEGABYTE)
    assert death.reason == "oom"
    assert "600 MB" in death.text
    assert death.peak < 1200 * MEGABYTE


def test_one_great_allocation_is_refused_at_once():
    began = time.monotonic()
    death = call(lambda size: np.ones(size), 2**30, memory=600 * MEGABYTE)
    assert death.reason == "oom"
    assert time.monotonic() - began < 2


def test_an_exception_that_cannot_be_sent_is_told_all_the_same():
    def work(_):
        class Odd(Exception):
            def __init__(self, one, two):
                self.lock = threading.Lock()

            def __str__(self):
                raise RuntimeError("not even a text")

        raise Odd(1, 2)

    answer = call(work, None)
    assert answer.error.type.endswith("Odd")


def test_a_value_that_cannot_be_sent_is_an_error():
    answer = call(lambda _: threading.Lock(), None)
    assert "pickle" in answer.error.message


def test_time_runs_from_the_first_line_of_the_function():
    answer = call(lambda _: time.sleep(0.3), None, seconds=5)
    assert 0.3 <= answer.seconds < 1


def test_grandchildren_go_with_the_child(tmp_path):
    """Also the one in a session of its own."""

    def work(_):
        poison.breed()
        time.sleep(0.2)
        return offspring(os.getpid())

    def crash(path):
        poison.breed()
        time.sleep(0.3)
        Path(path).write_text(" ".join(map(str, offspring(os.getpid()))))
        os.kill(os.getpid(), signal.SIGSEGV)

    begun = call(work, None).value
    assert len(begun) == 4
    assert gone(begun) == []
    call(crash, tmp_path / "pids")
    begun = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(begun) == 4
    assert gone(begun) == []


def test_a_gigabyte_of_words_fills_neither_memory_nor_disk_nor_the_terminal(capfd):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert call(poison.flood, 2**30, seconds=60).value == 2**30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert capfd.readouterr() == ("", "")


def test_the_server_is_replaced_when_it_is_killed():
    code = """
        def murder(_):
            os.kill(os.getppid(), 9)
            time.sleep(60)

        print(call(murder, None).reason, call(abs, -4).value)
    """
    assert light(code).stdout == "lost 4\n"


def test_no_descriptor_is_left_open(tmp_path):
    call(doubled, 1)
    before = len(os.listdir("/proc/self/fd"))
    for kind in ("exits", "raises", "hangs"):
        call(poison.harm, kind, seconds=0.1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_call_in_a_thread_is_cancelled():
    event, raised = threading.Event(), []

    def run():
        CANCELLED.set(event)
        try:
            call(time.sleep, 60)
        except CancelledError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)
    below = offspring(os.getpid())
    event.set()
    thread.join(5)
    assert len(raised) == 1
    left = offspring(os.getpid())
    assert len(left) < len(below)


def test_folders_of_a_killed_driver_are_swept(tmp_path):
    code = f"call(time.sleep, 60, scratch={str(tmp_path)!r})"
    driver = subprocess.Popen([sys.executable, "-c", LIGHT + code], env=environment())
    wait_for(lambda: list(tmp_path.iterdir()))
    driver.kill()
    driver.wait()
    assert list(tmp_path.iterdir())
    assert light(f"call(abs, 1, scratch={str(tmp_path)!r})").stdout == ""
    assert list(tmp_path.iterdir()) == []


DRIVER = """
    def work(path):
        open(path, "w").write(str(os.getpid()))
        BLOCK

    call(work, sys.argv[1])
"""
#: A child that sleeps, and one in native code that never gives the interpreter back.
BLOCKS = {"sleeps": "time.sleep(600)", "native": "import ctypes; ctypes.PyDLL(None).sleep(600)"}


@pytest.mark.parametrize("kind", BLOCKS)
def test_no_child_outlives_a_driver_that_is_killed(kind, tmp_path):
    # A server with all its libraries takes longest to end itself.
    preload = LIGHT if kind == "sleeps" else LIGHT.replace("fork_server.PRELOAD", "_")
    code = preload + textwrap.dedent(DRIVER.replace("BLOCK", BLOCKS[kind]))
    driver = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pid")], env=environment())
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    below = offspring(driver.pid)
    assert int((tmp_path / "pid").read_text()) in below
    driver.kill()
    driver.wait()
    assert gone(below) == []


@pytest.mark.parametrize("first", ["driver", "server"])
def test_no_grandchild_outlives_a_driver_that_is_killed(first, tmp_path):
    """Also where the server, and with it the child, is killed just before. Known gap: one that has left for a session
    of its own does outlive a killed driver, so the test ends that one itself."""
    code = """
        from tests.many_models import poison

        def work(path):
            poison.breed()
            with open(path, "w") as stream:
                stream.write(f"{os.getppid()} {os.getpgid(0)}")
            time.sleep(600)

        call(work, sys.argv[1])
    """
    driver = subprocess.Popen(
        [sys.executable, "-c", LIGHT + textwrap.dedent(code), str(tmp_path / "pid")], env=environment()
    )
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().count(" "))
    server, group = map(int, (tmp_path / "pid").read_text().split())
    below = [pid for pid in offspring(driver.pid) if os.getpgid(pid) == group]
    assert len(below) == 4
    (stray,) = [pid for pid in offspring(server) if os.getpgid(pid) == pid and pid != group]
    driver.send_signal(signal.SIGSTOP)
    if first == "server":
        os.kill(server, signal.SIGKILL)
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    left = gone(below)
    os.kill(stray, signal.SIGKILL)
    assert left == []


def test_ctrl_c_ends_the_child_and_goes_on_up(tmp_path):
    code = LIGHT + textwrap.dedent(DRIVER.replace("BLOCK", BLOCKS["sleeps"]))
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "pid")], env=environment(), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    below = offspring(driver.pid)
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=20)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert gone(below) == []


SCRIPT = """
print("begun")
from many_models import fork_server
from many_models.child import call

fork_server.PRELOAD = ("cloudpickle",)

class Own:
    def __init__(self, value):
        self.value = value

def work(own):
    return Own(own.value + 1)

answer = call(work, Own(1))
print(answer.value.value, type(answer.value) is Own)
"""


@pytest.mark.parametrize("way", ["file", "command", "standard input", "module"])
def test_a_script_without_a_guard_runs_once(way, tmp_path):
    (tmp_path / "unguarded.py").write_text(SCRIPT)
    arguments = {
        "file": [str(tmp_path / "unguarded.py")],
        "command": ["-c", SCRIPT],
        "standard input": ["-"],
        "module": ["-m", "unguarded"],
    }[way]
    done = python(*arguments, input=SCRIPT if way == "standard input" else None, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("begun\n2 True\n", "")


def test_a_daemonic_process_may_call(tmp_path):
    """As those of Dask's workers are."""
    code = """
        def run(queue):
            queue.put(call(abs, -3).value)

        processes = multiprocessing.get_context("fork")
        queue = processes.Queue()
        call(abs, 1)
        process = processes.Process(target=run, args=(queue,), daemon=True)
        process.start()
        print(queue.get(timeout=60))
    """
    assert light(code).stdout == "3\n"


def light(code):
    """Runs it in a driver whose server loads nothing to speak of."""
    return python("-c", LIGHT + textwrap.dedent(code))


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def python(*arguments, input=None, cwd=ROOT):
    return subprocess.run(
        [sys.executable, *arguments],
        input=input,
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
