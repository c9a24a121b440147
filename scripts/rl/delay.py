"""A distance between two places on one machine: a listener that hands every byte on, so much later, both ways."""

import collections
import contextlib
import socket
import threading
import time


class Delay:
    """Listens on 127.0.0.1 and connects to `port` there; everything arrives `seconds` later. Can be cut, and joined again."""

    def __init__(self, port, seconds):
        self.target, self.seconds = port, seconds
        self.is_cut = False
        self.sockets = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._start(self._accept)

    def _start(self, body, *words):
        threading.Thread(target=body, args=words, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return  # closed
            if self.is_cut:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            with self.lock:
                self.sockets |= {near, far}
            self._start(self._carry, near, far)
            self._start(self._carry, far, near)

    def _carry(self, source, sink):
        waiting, arrived = collections.deque(), threading.Condition()

        def deliver():
            while True:
                with arrived:
                    arrived.wait_for(lambda: waiting)
                    due, data = waiting.popleft()
                time.sleep(max(0.0, due - time.monotonic()))
                with contextlib.suppress(OSError):
                    if data:
                        sink.sendall(data)
                        continue
                self._end(source, sink)
                return

        self._start(deliver)
        data = True
        while data:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            with arrived:
                waiting.append((time.monotonic() + self.seconds, data))
                arrived.notify()

    def _end(self, *sockets):
        with self.lock:
            self.sockets -= set(sockets)
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def cut(self):
        """Ends what is open, and lets nobody through."""
        self.is_cut = True
        self._end(*list(self.sockets))

    def join(self):
        self.is_cut = False

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()
