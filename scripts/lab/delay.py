"""A distance between two places on one machine: a listener that hands every byte on, so much later, both ways."""

import collections
import contextlib
import random
import socket
import threading
import time


RESENT_SECONDS = 0.2  # the shortest time after which TCP sends once more


class Delay:
    """Listens on 127.0.0.1 and connects to `port` there; everything arrives `seconds` later. Can be cut, and joined again.

    `lost` of what is sent is lost on its way, as it is for TCP: it arrives once it has been sent again, and what is behind it
    waits. Of those losses, `broken` end the connection instead, and what was on its way is gone. With losses, the
    distance differs from message to message.
    """

    def __init__(self, port, seconds, lost=0.0, broken=0.0):
        self.target, self.seconds, self.lost, self.broken = port, seconds, lost, broken
        self.messages = self.losses = self.breaks = 0
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
            seconds = self.seconds
            if self.lost:
                seconds, data = self._weather(data)
            with arrived:
                waiting.append((time.monotonic() + seconds, data))
                arrived.notify()

    def _weather(self, data):
        """How long a message takes, and the message, or none where the connection ends."""
        self.messages += 1
        seconds = self.seconds * (1 + random.expovariate(8))
        if random.random() < self.lost:
            self.losses += 1
            if random.random() < self.broken:
                self.breaks += 1
                return 0.0, b""
            seconds += max(RESENT_SECONDS, 2 * self.seconds)
        return seconds, data

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
