#!/usr/bin/env python3
"""Beyond loopback: lorryd starts only with TLS and a token, answers each role what is its own and nobody else anything, and hands out
a model's files over HTTPS, byte for byte. It listens on every address; this test speaks to it by this machine's own ones."""
import hashlib
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

from home import BIN, Home, free_port, wait_for

COMMAND = "kind: command\nname: one\nproject: docs\nargv: [/bin/true]\n"
ROLES = ("admin", "finance", "serving", "viewer")

# path | who is answered 200 | who is answered 403 (RUN: a run; a role of which nothing is promised there stands in neither column)
PATHS = [
    ("/v1/runs/RUN", ("admin", "viewer"), ("finance", "serving")),
    ("/runs/RUN", ("admin", "viewer"), ("serving",)),
    ("/", ("admin", "viewer"), ("serving",)),
    ("/v1/costs", ("admin", "finance"), ("serving",)),
    ("/cost", ("admin", "finance"), ("serving",)),
    ("/registry", ("admin", "serving", "viewer"), ()),
    ("/v1/registry/models/t/secret", ("admin", "serving", "viewer"), ()),
    ("/api/models/t/secret", ("admin", "serving", "viewer"), ()),
    ("/t/secret/resolve/main/config.json", ("admin", "serving", "viewer"), ()),
]


def own_address():
    """This machine's address on the network, where it has one; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


class Server:
    """with Server(home, *options) as server: ...   one lorryd on every address."""

    def __init__(self, home, *words):
        self.port = free_port()
        self.client = f"tcp://127.0.0.1:{self.port + 1}"
        self.command = [BIN / "lorryd", "--home", home.home, "--port", str(self.port), "--client-port", str(self.port + 1),
                        "--worker-port", str(self.port + 2), "--bind", "0.0.0.0", *words]

    def refused(self):
        """Starts it where it may not start: what it says."""
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=60)
        assert done.returncode not in (0, -11), done
        return done.stdout + done.stderr

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


def ask(context, url, token=None):
    """(status, headers, body)"""
    request = urllib.request.Request(url, headers={} if token is None else {"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.headers, refused.read()


def answers(context, address):
    try:
        return ask(context, address + "/healthz")[0] == 200
    except OSError:
        return False


def make_certificate(home, *addresses):
    names = ",".join(f"IP:{address}" for address in sorted(set(addresses)))
    certificate, key = home.path / "certificate.pem", home.path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=lorry",
                    "-addext", f"subjectAltName={names}", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return ["--tls-cert", certificate, "--tls-key", key], ssl.create_default_context(cafile=certificate)


def check_roles(context, address, run, tokens):
    wrong = []
    for path, answered, denied in PATHS:
        url = address + path.replace("RUN", run)
        expected = {None: 401, "not-a-token": 401, **{tokens[role]["token"]: 200 for role in answered}, **{tokens[role]["token"]: 403 for role in denied}}
        names = {tokens[role]["token"]: role for role in ROLES}
        wrong += [f"{path} for {names.get(token, token)}: {got}, not {status}" for token, status in expected.items()
                  if (got := ask(context, url, token)[0]) != status]
    assert not wrong, "\n".join(wrong)
    for path in ("/healthz", "/readyz"):  # for load balancers, which carry no token
        assert ask(context, address + path)[0] == 200, path


def check_download(context, address, token, shown):
    for file in shown["versions"][-1]["files"]:
        status, headers, body = ask(context, f"{address}/t/secret/resolve/main/{file['path']}", token)
        assert status == 200 and hashlib.sha256(body).hexdigest() == file["digest"] and headers["X-Repo-Commit"], (file, status)
    return len(shown["versions"][-1]["files"])


def check_not_in_the_clear(server):
    """The port speaks TLS only, and its certificate is not taken on trust."""
    for url in (f"http://127.0.0.1:{server.port}/healthz", f"https://127.0.0.1:{server.port}/healthz"):
        try:
            urllib.request.urlopen(url, timeout=10)
        except OSError:
            continue
        raise AssertionError(f"{url} was answered")


def main():
    own = own_address()
    with Home() as home:
        tls, context = make_certificate(home, "127.0.0.1", own)
        home.tiny_model()
        home.lorry("model", "import", home.path / "tiny", "--name", "t/secret", "--private")
        shown = home.lorry("model", "show", "t/secret")
        run = home.lorry("submit", home.write("one.yaml", COMMAND), "--wait")["run"]
        home.run("down")
        assert "TLS and at least one token" in Server(home, *tls).refused()  # no token yet
        home.lorry("up", "--detach", "--devices", "cpu:1", "--port", str(free_port()))
        tokens = {role: home.lorry("token", "create", "--role", role) for role in ROLES}
        home.run("down")
        assert "TLS and at least one token" in Server(home).refused()
        with Server(home, *tls) as server:
            address = f"https://127.0.0.1:{server.port}"
            wait_for("lorryd to answer", lambda: answers(context, address))
            check_not_in_the_clear(server)
            check_roles(context, address, run, tokens)
            files = check_download(context, f"https://{own}:{server.port}", tokens["serving"]["token"], shown)
            revoked = home.run("--address", server.client, "token", "revoke", tokens["viewer"]["id"])
            assert revoked.returncode == 0, revoked
            assert ask(context, address + "/", tokens["viewer"]["token"])[0] == 401
        print(f"{len(PATHS)} addresses by role over TLS, {files} files downloaded by {own}, byte for byte")


sys.exit(main())
