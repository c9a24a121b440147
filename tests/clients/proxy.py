"""What stands between a client and a server, and fails as failures.json says. Python's tests hold it in their own process; for the
languages that have none of their own:

  python3 proxy.py SERVER-PORT

Prints its port. Each line of its input is JSON, is done, and is answered with 1 where a fault still waits for its command, else 0:
{"next": {"fault": ..., "bytes": ...}} is done to the next command of the module; {"refuses": true}: nobody listens;
{"silent": true}: nobody answers; {"late": true}: what was held back as late is passed on. It ends with its input.
"""

import contextlib
import json
import socket
import struct
import sys
import threading
import time


class Proxy:
    """``next`` is done to the next command of the module, ``fault`` to all of them: by the names of failures.json, and

    instead: the server has answered; 'bytes' are passed on.  trickle: as slow, and slower than anybody waits.
    twice: passes the answer on twice.
    """

    def __init__(self, target):
        self.target = target
        self.next = None
        self.fault = None
        self.is_silent = False
        self.commands = 0  # that reached the server
        self.connections = 0
        self.held = threading.Event()
        self.open = set()
        self.port = 0
        self.refuse(False)

    def refuse(self, is_refusing=True):
        self.is_refusing = is_refusing
        if is_refusing:
            self.close()
        else:
            self.listener = socket.create_server(("127.0.0.1", self.port))
            self.port = self.listener.getsockname()[1]
            threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut(*self.open)

    def cut(self, *sockets):
        """Those, or whatever is connected."""
        for one in sockets or list(self.open):
            self.open.discard(one)
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.create_connection(("127.0.0.1", self.target))
            self.open |= {client, server}
            owed = []  # the fault of each command that the server is about to answer
            for serve in (self.ask, self.answer):
                threading.Thread(target=serve, args=(client, server, owed), daemon=True).start()

    def taken(self):
        fault, self.next = self.next or self.fault or "none", None
        return {"fault": fault} if isinstance(fault, str) else fault

    def ask(self, client, server, owed):
        is_deaf = False  # a connection does not lose bytes in its middle: after one, all
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                if is_deaf or self.is_silent:
                    continue
                if b"RL." in data:
                    fault = self.taken()
                    match fault["fault"]:
                        case "cut-before":
                            break
                        case "reset-before":
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                            client.close()
                            break
                        case "swallow":
                            is_deaf = True
                            continue
                        case "error":
                            client.sendall(fault["bytes"].encode())
                            continue
                    self.commands += 1
                    owed.append(fault)
                server.sendall(data)
        self.cut(client, server)

    def answer(self, client, server, owed):
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                fault = owed.pop(0) if owed else {"fault": "none"}
                match fault["fault"]:
                    case "cut-after":
                        break
                    case "cut-middle":
                        client.sendall(data[: len(data) // 2])
                        break
                    case "stall":  # nor any to what is sent by this connection afterwards
                        while server.recv(65_536):
                            pass
                    case "late":
                        self.held.wait()
                        client.sendall(data)
                    case "slow" | "trickle":
                        for byte in data:
                            client.sendall(bytes([byte]))
                            time.sleep(0.001 if fault["fault"] == "slow" else 0.1)
                    case "instead":
                        client.sendall(fault["bytes"].encode())
                    case "twice":
                        client.sendall(data + data)
                    case _:
                        client.sendall(data)
        self.cut(client, server)

    def told(self, said):
        if "next" in said:
            self.held.clear()
            self.next = said["next"]
        if "refuses" in said and said["refuses"] != self.is_refusing:
            self.refuse(said["refuses"])
        if "silent" in said:
            self.is_silent = said["silent"]
        if "late" in said:
            self.held.set()


def main():
    proxy = Proxy(int(sys.argv[1]))
    print(proxy.port, flush=True)
    for line in sys.stdin:
        proxy.told(json.loads(line))
        print(int(proxy.next is not None), flush=True)


if __name__ == "__main__":
    main()
