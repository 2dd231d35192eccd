"""Builds, starts and stops ours and the peers."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

import machine

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench" / "peers"
SECRET = "Z8qkW2vR7mXcT4nYbL9sHd3gJfP6uE1oA5iKxQwV"


def token(lifetime=24 * 3600):
    """A user's token, as ours signs it. The peers verify its signature and expiry."""
    now = int(time.time())
    claims = {"iss": "proconf-app-server", "aud": "proconf-app-server", "sub": "YHl0oAPyQm3nJ8zKq1eYlA", "kind": "user",
              "sid": "4cX2pM0uS9aVbR7tWd5hEg", "jti": "Zk3vN8qLxT6yHs2oJf9rCw", "iat": now, "exp": now + lifetime}
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    message = b".".join(encode(json.dumps(part, separators=(",", ":")).encode())
                        for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (message + b"." + encode(hmac.new(SECRET.encode(), message, hashlib.sha256).digest())).decode()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A process that listens on a port of 127.0.0.1."""

    def __init__(self, name, folder, port, command, env, cores):
        self.name, self.port, self.command, self.cores = name, port, command, cores
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "NODE_ENV": "production", **env}
        self.log, self.process = self.folder / "log", None

    def start(self, wait=True):
        # In append mode, so that it can be truncated while the server runs.
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(machine.pinned(self.cores, self.command), env=self.env, cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait()
        return self

    def wait(self, timeout=30.0, pause=0.02):
        """Waits until the server accepts connections."""
        limit = time.monotonic() + timeout
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError(f"{self.name} did not start: {self.log.read_text(errors='replace')[-2000:]}")
                time.sleep(pause)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def get(self, path, authorization=None):
        """Returns status and body of a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": authorization} if authorization else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def truncate_log(self):
        os.truncate(self.log, 0)


class Farm:
    """Builds the servers and starts them."""

    def __init__(self, folder, smoke):
        self.folder, self.smoke = pathlib.Path(folder), smoke
        self.server_core, self.load_core = machine.two_cores()
        self.skipped = []
        self.fake_admin_control, self.calibrated = None, None
        self.running = []

    def build(self, peers=True):
        profile = [] if self.smoke else ["--release"]
        kind = "debug" if self.smoke else "release"
        run = lambda command, where: subprocess.run(command, cwd=where, check=True)
        run(["cargo", "build", "--locked", "--quiet", "--bin", "proconf-app-server", *profile], ROOT)
        axum = [] if self.smoke else ["--features", "axum"]
        if self.smoke:
            self.skipped.append("axum + reqwest: its dependencies take minutes to build")
        run(["cargo", "build", "--locked", "--quiet", "--bins", *profile, *axum], PEERS / "rust")
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        rust_target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", PEERS / "rust" / "target"))
        self.binary, self.tools = target / kind / "proconf-app-server", rust_target / kind
        if not peers:
            return
        if shutil.which("node") and shutil.which("npm"):
            for peer in ("express", "fastify"):
                if not (PEERS / peer / "node_modules").exists():
                    run(["npm", "ci", "--silent"], PEERS / peer)
        else:
            self.skipped.append("Express and Fastify: Node is not installed")
        if shutil.which("go"):
            run(["go", "build", "-o", self.folder / "go-net-http", "."], PEERS / "go")
        else:
            self.skipped.append("Go's net/http: Go is not installed")
        if not machine.install("nginx", "nginx-light"):
            self.skipped.append("nginx: it is not installed")
        if not machine.install("wrk", "wrk"):
            raise SystemExit("please install wrk")

    def calibrate(self):
        if self.smoke and self.calibrated:
            return self.calibrated
        self.calibrated = machine.calibrate(self.tools / "calibrate", (self.server_core, self.load_core))
        return self.calibrated

    def start_fake_admin_control(self):
        port = free_port()
        self.fake_admin_control = self._start(Server("fake-admin-control", self.folder, port, [self.tools / "fake_admin_control"], {"PORT": str(port)},
                                           [self.load_core]))
        self.admin_control = f"http://127.0.0.1:{port}/api"

    def calls(self):
        """The number of catch-up calls to the fake Admin Control so far."""
        return json.loads(self.fake_admin_control.get("/calls")[1])["calls"]

    def ours(self, name, cores=None, start=True, **settings):
        """Ours, with default settings and these, with its log in a file."""
        port = free_port()
        env = {"APP_SERVER__LISTEN": f"127.0.0.1:{port}", "APP_MANAGEMENT__LISTEN": f"127.0.0.1:{free_port()}",
               "APP_ADMIN_CONTROL__BASE_URL": self.admin_control, "APP_AUTH__JWT_SECRET": SECRET, **settings}
        server = Server(name, self.folder, port, [self.binary, "serve"], env, cores or [self.server_core])
        return self._start(server) if start else server

    def peers(self, wanted=None):
        """Starts the installed peers, or the wanted ones of them."""
        for name, start in self._known_peers():
            if wanted is None or name in wanted:
                yield start(name)

    def _known_peers(self):
        yield "actix-fixed", lambda name: self.rust(name, "actix_fixed")
        yield "actix-fixed-jwt", lambda name: self.rust(name, "actix_fixed", JWT="1")
        yield "actix-naive", lambda name: self.rust(name, "actix_naive")
        if (self.tools / "axum_reqwest").exists() and not self.smoke:
            yield "axum-reqwest", lambda name: self.rust(name, "axum_reqwest")
        if (PEERS / "express" / "node_modules").exists():
            express = lambda key: lambda name: self._peer(name, ["node", PEERS / "express" / "server.js"], KEY=key)
            yield "express-string", express("string")
            yield "express-object", express("object")
            fastify = lambda cache: lambda name: self._peer(name, ["node", PEERS / "fastify" / "server.js"], CACHE=cache)
            yield "fastify", fastify("0")
            yield "fastify-cache", fastify("1")
        if (self.folder / "go-net-http").exists():
            yield "go", lambda name: self._peer(name, [self.folder / "go-net-http"])
        if shutil.which("nginx"):
            yield "nginx", self.nginx
            yield "nginx-cache", lambda name: self.nginx(
                name, "proxy_cache responses; proxy_cache_valid 200 5s; proxy_cache_lock on;"
                      " proxy_cache_lock_timeout 30s; proxy_cache_lock_age 30s;")

    def rust(self, name, program, start=True, cores=None, **env):
        """A peer from the Rust crate."""
        return self._peer(name, [self.tools / program], start, cores, **env)

    def nginx(self, name, cache=""):
        port, folder = free_port(), self.folder / name
        folder.mkdir()
        words = {"WORKERS": 1, "FILES": 16384, "DIR": folder, "PORT": port, "CACHE": cache,
                 "ADMIN_CONTROL": f"127.0.0.1:{self.fake_admin_control.port}"}
        text = (PEERS / "nginx" / "nginx.conf").read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        (folder / "nginx.conf").write_text(text)
        command = ["nginx", "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
        return self._start(Server(name, self.folder, port, command, {}, [self.server_core]))

    def stop(self, *servers):
        for server in servers or list(self.running):
            server.stop()
            if server in self.running:
                self.running.remove(server)

    def _peer(self, name, command, start=True, cores=None, **env):
        port = free_port()
        env = {"PORT": str(port), "SECRET": SECRET, "ADMIN_CONTROL_URL": self.admin_control, **env}
        server = Server(name, self.folder, port, command, env, cores or [self.server_core])
        return self._start(server) if start else server

    def _start(self, server):
        self.running.append(server)
        return server.start()
