"""Builds, starts and stops ours and the peers."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import resource
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


def is_outdated(file, *sources):
    return not file.exists() or file.stat().st_mtime < max(source.stat().st_mtime for source in sources)


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

    def __init__(self, folder, smoke, binary=None):
        self.folder, self.smoke, self.binary = pathlib.Path(folder), smoke, binary
        self.server_core, self.load_core = machine.two_cores()
        self.skipped, self.running = [], []
        self.fake_admin_control, self.calibrated, self.has_nginx = None, None, False
        # For ten thousand connections; the servers inherit it.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def build(self, peers=True):
        profile, kind = ([], "debug") if self.smoke else (["--release"], "release")
        run = lambda command, where: subprocess.run(command, cwd=where, check=True)
        target = lambda folder: pathlib.Path(os.environ.get("CARGO_TARGET_DIR", folder / "target")) / kind
        if not self.binary:
            run(["cargo", "build", "--locked", "--quiet", "--bin", "proconf-app-server", *profile], ROOT)
            self.binary = target(ROOT) / "proconf-app-server"
        if is_outdated(PEERS / "rust" / "Cargo.lock", ROOT / "Cargo.lock", PEERS / "rust" / "Cargo.toml"):
            shutil.copyfile(ROOT / "Cargo.lock", PEERS / "rust" / "Cargo.lock")
        run(["cargo", "build", "--quiet", "--bins", *profile, *([] if self.smoke else ["--features", "axum"])], PEERS / "rust")
        self.tools = target(PEERS / "rust")
        if not peers:
            return
        if not machine.install("wrk", "wrk"):
            raise SystemExit("please install wrk")
        self.has_nginx = machine.install("nginx", "nginx-light")
        if has_node := bool(shutil.which("node") and shutil.which("npm")):
            installed = PEERS / "node" / "node_modules" / ".package-lock.json"
            if is_outdated(installed, PEERS / "node" / "package.json", PEERS / "node" / ".npmrc"):
                shutil.rmtree(installed.parent, ignore_errors=True)
                run(["npm", "install", "--silent"], PEERS / "node")
        if has_go := bool(shutil.which("go")):
            run(["go", "build", "-o", self.folder / "go-net-http", "."], PEERS / "go")
        for there, name in ((not self.smoke, "axum + reqwest: its dependencies take minutes to build"), (self.has_nginx, "nginx"),
                            (has_node, "Express and Fastify: no Node"), (has_go, "Go's net/http: no Go")):
            if not there:
                self.skipped.append(name)

    def calibrate(self):
        if not self.smoke or not self.calibrated:
            self.calibrated = machine.calibrate(self.tools / "calibrate", (self.server_core, self.load_core))
        return self.calibrated

    def start_fake_admin_control(self):
        port, tls_port, self.authority = free_port(), free_port(), self.folder / "authority.pem"
        env = {"PORT": str(port), "TLS_PORT": str(tls_port), "CA_FILE": str(self.authority)}
        command = [self.tools / "fake_admin_control"]
        self.fake_admin_control = self._start(Server("fake-admin-control", self.folder, port, command, env, [self.load_core]))
        self.issuer, self.admin_control = f"http://127.0.0.1:{port}/openid", f"http://127.0.0.1:{port}/api"
        self.admin_control_tls = f"https://127.0.0.1:{tls_port}/api"

    def https(self, variable):
        """The environment of a server that calls Admin Control over TLS."""
        return {variable: self.admin_control_tls, "SSL_CERT_FILE": str(self.authority)}

    def calls(self):
        """The number of catch-up calls to the fake Admin Control so far."""
        return json.loads(self.fake_admin_control.get("/calls")[1])["calls"]

    def ours(self, name, start=True, **settings):
        """Ours, with default settings and these, with its log in a file."""
        port = free_port()
        env = {"APP_SERVER__LISTEN": f"127.0.0.1:{port}", "APP_MANAGEMENT__LISTEN": f"127.0.0.1:{free_port()}",
               "APP_ADMIN_CONTROL__BASE_URL": self.admin_control, "APP_AUTH__JWT_SECRET": SECRET, **settings}
        server = Server(name, self.folder, port, [self.binary, "serve"], env, [self.server_core])
        return self._start(server) if start else server

    def peers(self, wanted=None):
        """Starts the installed peers, or the wanted ones of them."""
        rust, node = (lambda program: [self.tools / program]), (lambda program: ["node", PEERS / "node" / f"{program}.js"])
        known = [("actix-fixed", rust("actix_fixed"), {}), ("actix-fixed-jwt", rust("actix_fixed"), {"JWT": "1"}),
                 ("actix-naive", rust("actix_naive"), {}), ("actix-naive-log", rust("actix_naive"), {"LOG": "1"}),
                 ("hyper-proxy", rust("hyper_proxy"), {}), ("axum-reqwest", rust("axum_reqwest"), {}),
                 ("axum-reqwest, https", rust("axum_reqwest"), self.https("ADMIN_CONTROL_URL")),
                 ("express-string", node("express"), {"KEY": "string"}), ("express-object", node("express"), {"KEY": "object"}),
                 ("fastify", node("fastify"), {"CACHE": "0"}), ("fastify-cache", node("fastify"), {"CACHE": "1"}),
                 ("go", [self.folder / "go-net-http"], {})]
        for name, command, env in known:
            is_missing = self.smoke and name.startswith("axum") or command[0] == "node" and not (PEERS / "node" / "node_modules").exists()
            if (wanted is None or name in wanted) and not is_missing and shutil.which(command[0]):
                yield self.peer(name, command, **env)
        for name, cache in (("nginx", None), ("nginx-cache", "5s")) if self.has_nginx else ():
            if wanted is None or name in wanted:
                yield self.nginx(name, cache)

    def peer(self, name, command, start=True, **env):
        port = free_port()
        env = {"PORT": str(port), "SECRET": SECRET, "ADMIN_CONTROL_URL": self.admin_control, **env}
        server = Server(name, self.folder, port, command, env, [self.server_core])
        return self._start(server) if start else server

    def nginx(self, name, cache=None):
        """nginx as a plain proxy, or with a cache for that time."""
        port, folder = free_port(), self.folder / name
        folder.mkdir()
        lines = ("proxy_cache responses; proxy_cache_lock on; proxy_cache_lock_timeout 30s; proxy_cache_lock_age 30s;"
                 f" proxy_cache_valid 200 {cache};") if cache else ""
        text = (PEERS / "nginx" / "nginx.conf").read_text()
        for word, value in {"DIR": folder, "PORT": port, "CACHE": lines,
                            "ADMIN_CONTROL": f"127.0.0.1:{self.fake_admin_control.port}"}.items():
            text = text.replace(f"@{word}@", str(value))
        (folder / "nginx.conf").write_text(text)
        command = ["nginx", "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
        return self._start(Server(name, self.folder, port, command, {}, [self.server_core]))

    def stop(self, *servers):
        for server in servers or list(self.running):
            server.stop()
            if server in self.running:
                self.running.remove(server)

    def _start(self, server):
        self.running.append(server)
        return server.start()
