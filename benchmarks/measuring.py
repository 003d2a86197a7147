"""Measures wall time, CPU time and peak memory of a call. It needs NumPy alone.

tiles.py and tiles_sahi.py import it.
"""

import ctypes
import gc
import os
import threading
import time

PERIOD = 0.01  # seconds between two looks at the memory


def own_memory():
    """Returns the MiB of this process that are no pages of files.

    Pages of files are not counted, because the system takes them back when it needs memory.
    """
    with open("/proc/self/statm") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20


def settle():
    """Frees what can be freed, and returns `own_memory`."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return own_memory()


def measured(call):
    """Calls a function without arguments.

    Returns:
        Its result, and a dict of `wall` and `cpu`, seconds, and `peak`, MiB of `own_memory`.
    """
    peak, done = [own_memory()], threading.Event()

    def watch():
        while not done.wait(PERIOD):
            peak.append(max(peak.pop(), own_memory()))

    thread = threading.Thread(target=watch)
    thread.start()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        result = call()
    finally:
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        done.set()
        thread.join()
    return result, {"wall": wall, "cpu": cpu, "peak": peak[0]}
