"""Fork server for vLLM engines (CPU, for tests): serve.py WORK_DIR

WORK_DIR is for logs; it is removed when this process ends.

Imports vLLM once (the slow part), then forks one API server per order; its EngineCore is forked too instead of spawned.
This is not a start method that vLLM supports; it is here because a further engine is healthy in about 3 seconds.

stdin   one JSON order per line: {"name", "args": [...], "env": {...}, "log": PATH}. End of file ends every engine.
stdout  one JSON line per event: {"event": "ready"}, {"event": "started", "name", "pid"}, {"event": "exited", "name", "pid", "status"}

Each engine is a process group of its own. When its first process ends, for whatever reason, the rest of the group is
killed; when this process is killed, the kernel kills what it started (Linux parent-death signal).
"""
import ctypes
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback

STOP_LIMIT_S = 5  # between SIGTERM and SIGKILL when everything ends
KILL_LIMIT_S = 3  # for SIGKILL to be done
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ENGINE_ENV = {
    "CUDA_VISIBLE_DEVICES": "", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
    "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TORCHDYNAMO_DISABLE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1",
    "VLLM_SERVER_DEV_MODE": "1",
}
libc = ctypes.CDLL(None, use_errno=True)
children = {}  # pid -> name


def say(**event):
    try:
        os.write(1, json.dumps(event).encode() + b"\n")
    except BrokenPipeError:
        pass  # the reader is gone; end of file on stdin follows


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)


def import_vllm():
    for key, value in ENGINE_ENV.items():
        os.environ.setdefault(key, value)
    import multiprocessing

    import transformers.models.llama  # noqa: F401
    import vllm.entrypoints.openai.api_server  # noqa: F401
    import vllm.lora.model_manager  # noqa: F401
    import vllm.model_executor.models.llama  # noqa: F401
    import vllm.v1.attention.backends.cpu_attn  # noqa: F401
    import vllm.v1.engine.async_llm  # noqa: F401
    import vllm.v1.engine.core  # noqa: F401
    import vllm.v1.engine.utils as engine_utils
    import vllm.v1.executor.uniproc_executor  # noqa: F401
    import vllm.v1.worker.cpu_model_runner  # noqa: F401
    import vllm.v1.worker.cpu_worker  # noqa: F401
    from vllm.entrypoints.launchers.api_server import entry

    engine_utils.get_mp_context = lambda: multiprocessing.get_context("fork")
    return entry


def become_engine(entry, order):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order.get("env", {}))
    sys.argv = ["api_server", *order["args"]]
    status = 0
    try:
        entry.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        pass
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def kill_group(pid, number):
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def reap():
    """Collects what has ended; false once nothing is left."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if not pid:
            return True
        kill_group(pid, signal.SIGKILL)  # the EngineCore of an API server that was killed
        if pid in children:
            say(event="exited", name=children.pop(pid), pid=pid, status=os.waitstatus_to_exitcode(status))


def stop_all():
    for number, limit in ((signal.SIGTERM, STOP_LIMIT_S), (signal.SIGKILL, KILL_LIMIT_S)):
        for pid in list(children):
            kill_group(pid, number)
        deadline = time.monotonic() + limit
        while reap():
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)


def start(entry, order):
    pid = os.fork()
    if pid == 0:
        become_engine(entry, order)
    children[pid] = order["name"]
    say(event="started", name=order["name"], pid=pid)


def main():
    die_with_parent()  # while importing; afterwards the end of stdin tells, and there is time to clean up
    entry = import_vllm()
    libc.prctl(PR_SET_PDEATHSIG, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphaned EngineCores come to us and are reaped, not left as zombies
    os.register_at_fork(after_in_child=die_with_parent)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    stopping = []
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only wakes the loop
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    signal.signal(signal.SIGINT, lambda *_: stopping.append(True))
    say(event="ready")
    pending = b""
    while not stopping:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            reap()
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if line.strip():
                    start(entry, json.loads(line))
    stop_all()
    shutil.rmtree(sys.argv[1], ignore_errors=True)


main()
