"""The servers of the scenario: two Meridian regions and a Synapse on loopback, with TLS under an authority of their own."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
READY_SECONDS = 60


class Authority:
    """A certificate authority for this run only, made with openssl."""

    def __init__(self, base: Path) -> None:
        self.base = base
        base.mkdir(parents=True, exist_ok=True)
        self.certificate = base / "ca.pem"
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Meridian test authority",
                      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
                      "-keyout", "ca.key", "-out", "ca.pem")
        extensions = base / "leaf.cnf"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", "leaf.key", "-out", "leaf.csr")
        self._openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                      "-extfile", "leaf.cnf", "-out", "leaf.pem")
        self.leaf, self.leaf_key = base / "leaf.pem", base / "leaf.key"

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.base, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"openssl {arguments[0]}: {done.stderr}")

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))


def free_ports(count: int) -> list[int]:
    """Below those that the kernel gives to clients: a server that is down must get its port back."""
    ports, candidate = [], 20_000 + os.getpid() % 10_000
    while len(ports) < count:
        candidate += 1
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", candidate))
            ports.append(candidate)
    return ports


class Server:
    """A homeserver that can be killed and started again over the same data."""

    kind = ""

    def __init__(self, label: str, port: int, base: Path, authority: Authority) -> None:
        self.label, self.port, self.base, self.authority = label, port, base / label, authority
        self.base.mkdir(parents=True, exist_ok=True)
        self.name = f"127.0.0.1:{port}"
        self.url = f"https://{self.name}"
        self.process: subprocess.Popen | None = None

    def command(self) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    def start(self) -> None:
        command, environment = self.command()
        with open(self.base / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, cwd=self.base, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.label} ended with {self.process.returncode}; see {self.base}/server.log")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.label} does not answer; see {self.base}/server.log")
            time.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"{self.url}/_matrix/client/versions", timeout=2, context=self.authority.context()) as got:
                return got.status == 200
        return False


class Meridian(Server):
    kind = "meridian"

    def __init__(self, binary: Path, *arguments) -> None:
        super().__init__(*arguments)
        self.binary = binary

    def command(self) -> tuple[list[str], dict[str, str]]:
        authority = self.authority
        return [str(self.binary), "serve"], {
            "MERIDIAN_DATA_DIR": str(self.base / "data"),
            "MERIDIAN_LISTEN": self.name,
            "MERIDIAN_SERVER_NAME": self.name,
            "MERIDIAN_TLS__CERTIFICATE": str(authority.leaf),
            "MERIDIAN_TLS__PRIVATE_KEY": str(authority.leaf_key),
            "MERIDIAN_FEDERATION__CERTIFICATE_AUTHORITIES": json.dumps([str(authority.certificate)]),
            "MERIDIAN_FEDERATION__ALLOWED_ADDRESSES": json.dumps(["127.0.0.0/8"]),
            "MERIDIAN_FEDERATION__RETRY_MIN_SECONDS": "1",
            "MERIDIAN_FEDERATION__PRESENCE_SECONDS": "1",
            "MERIDIAN_REGISTRATION__ENABLED": "true",
            "MERIDIAN_RATE_LIMITS__ENABLED": "false",
            "MERIDIAN_LOGGING__FILTER": os.environ.get("FEDERATION_LOG", "info"),
        }


class Synapse(Server):
    kind = "synapse"

    def __init__(self, venv: Path, *arguments) -> None:
        super().__init__(*arguments)
        self.venv = venv

    def command(self) -> tuple[list[str], dict[str, str]]:
        setup = [sys.executable, str(HERE.parent / "synapse"), "--port", str(self.port), "--dir", str(self.base), "--venv",
                 str(self.venv), "--tls", str(self.authority.base), "config"]
        config = subprocess.run(setup, check=True, capture_output=True, text=True).stdout.strip()
        return [str(self.venv / "bin" / "python"), "-m", "synapse.app.homeserver", "-c", config], {}
