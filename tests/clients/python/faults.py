"""A server behind a wire that can be cut: what it does to a command is said by ``fault``."""

import contextlib
import socket
import struct
import threading
import time

from servers import PORT


class Wire:
    """A proxy in front of the server. Faults meet commands of ours (RL.*) alone, but ``silent``, which meets everything."""

    def __init__(self, server_port=PORT):
        self.fault = None
        self.commands = 0  # that reached the server
        self.connections = 0
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = set()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self):
        """Nobody listens, and whatever was connected is gone."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def listen(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self):
        for one in list(self._open):
            self._close(one)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _close(self, one):
        self._open.discard(one)
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._open |= {client, server}
            owed = []  # the fault of each command that the server is about to answer
            threading.Thread(target=self._forward, args=(client, server, owed), daemon=True).start()
            threading.Thread(target=self._answer, args=(client, server, owed), daemon=True).start()

    def _forward(self, client, server, owed):
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                fault = self.fault
                is_ours = b"RL." in data
                if fault == "silent" or (is_ours and fault == "stall"):
                    continue
                if is_ours and fault == "cut before":
                    break
                if is_ours and fault == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()
                    break
                self.commands += is_ours
                if is_ours:
                    owed.append(fault)
                server.sendall(data)
        self._close(client)
        self._close(server)

    def _answer(self, client, server, owed):
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                match owed.pop(0) if owed else None:
                    case "cut after":
                        break
                    case "cut in the middle":
                        client.sendall(data[: len(data) // 2])
                        break
                    case "no reply":  # nor any to what is sent by this connection afterwards
                        while server.recv(65_536):
                            pass
                    case "slow":
                        for byte in data:
                            client.sendall(bytes([byte]))
                            time.sleep(0.1)
                    case "wrong":
                        client.sendall(b"+OK\r\n")
                    case "not redis":
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    case "twice":
                        client.sendall(data + data)
                    case "loading":
                        client.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")
                    case _:
                        client.sendall(data)
        self._close(client)
        self._close(server)
