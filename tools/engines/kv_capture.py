"""Records the KV events of one vLLM: kv_capture.py PUB_ADDRESS REPLAY_ADDRESS

Prints {"ready": true}, then each message of the PUB socket as one JSON line. A line "replay N" on stdin asks the replay
socket for everything from sequence number N and prints one line {"replay": {"request": ..., "responses": [...]}}.
End of file on stdin ends it.

Frames are printed as hex. "decoded" is the payload by msgspec; integers that JSON readers would round are strings of
digits, and bytes are {"hex": ...}.
"""
import json
import sys

import msgspec
import zmq

REPLAY_LIMIT_MS = 10_000
END_SEQ = (-1).to_bytes(8, "big", signed=True)


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)
    return value


def message(frames):
    return {"frames": [f.hex() for f in frames], "decoded": plain(msgspec.msgpack.decode(frames[-1])) if frames[-1] else None}


def replay(context, address, start):
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(address)
    request = [b"", start.to_bytes(8, "big")]
    socket.send_multipart(request)
    responses = []
    while socket.poll(REPLAY_LIMIT_MS):
        frames = socket.recv_multipart()
        responses.append(message(frames))
        if END_SEQ in frames:
            break
    else:
        sys.exit(f"no end of the replay within {REPLAY_LIMIT_MS} ms")
    socket.close()
    return {"request": [f.hex() for f in request], "responses": responses}


def main():
    context = zmq.Context()
    subscriber = context.socket(zmq.SUB)
    monitor = subscriber.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    subscriber.subscribe(b"")
    subscriber.connect(sys.argv[1])
    if not monitor.poll(REPLAY_LIMIT_MS):
        sys.exit(f"nothing publishes at {sys.argv[1]}")
    poller = zmq.Poller()
    poller.register(subscriber, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    print(json.dumps({"ready": True}), flush=True)
    while True:
        ready = dict(poller.poll())
        if subscriber in ready:
            print(json.dumps(message(subscriber.recv_multipart())), flush=True)
        if sys.stdin.fileno() in ready:
            line = sys.stdin.readline()
            if not line:
                break
            print(json.dumps({"replay": replay(context, sys.argv[2], int(line.split()[1]))}), flush=True)
    context.destroy(linger=0)


main()
