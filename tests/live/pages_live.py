#!/usr/bin/env python3
"""The pages as Debian's Chromium shows them, on a phone and on a desk, light and dark: the rows that the JSON interface has are there, the
chart is drawn, nothing sticks out sideways, no script fails, the colours follow the reader's wish. Pictures go to out/pages/.

usage: pages_live.py PEERS_DIR BUILD_DIR [--out DIR]      (of PEERS_DIR nothing is needed)
"""
import argparse
import base64
import fcntl
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("peers"); parser.add_argument("build"); parser.add_argument("--out", default="out/pages")
args = parser.parse_args()
os.environ["LORRY_BIN"] = args.build + "/bin"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from home import Home, wait_for  # noqa: E402

WIDTHS = {"phone": 390, "desk": 1280}
FINETUNE = """kind: finetune
name: a_name_that_is_longer_than_a_phone_is_wide_and_has_no_place_to_break
project: docs
base_model: t/tiny
dataset: {path: train.jsonl, validation: valid.jsonl, max_length: 200}
adapter: {r: 4, alpha: 8}
training: {max_steps: 12, rows_per_micro_batch: 2, micro_batches_per_step: 2, eval_every_steps: 4, learning_rate: 1.0e-3, precision: fp32}
resources: {cpus: 2}
output: {adapter: t/thing, alias: prod}
"""
COMMAND = "kind: command\nname: %s\nproject: docs\nargv: [/bin/sh, -c, \"echo '%s'; exit %d\"]\n"


class Browser:
    """Chromium by its DevTools protocol over two pipes: JSON ended by a zero byte, commands into its file 3, answers from its file 4."""

    def __init__(self, folder):
        command_end, self.commands = os.pipe()
        self.answers, answer_end = os.pipe()
        # Numbers above 4, so that putting one in its place does not close the other.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (command_end, answer_end)]
        words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"]
        self.process = subprocess.Popen(["bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "bash", *words], pass_fds=theirs,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (command_end, answer_end, *theirs):
            os.close(end)
        self.numbers, self.rest, self.session, self.faults = itertools.count(1), b"", None, []
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")

    def close(self):
        self.process.terminate()
        self.process.wait(30)

    def message(self):
        while b"\0" not in self.rest:
            piece = os.read(self.answers, 1 << 20)
            assert piece, "chromium has ended"
            self.rest += piece
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        if message.get("method") == "Runtime.exceptionThrown" or (message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error"):
            self.faults.append(message["params"])
        return message

    def call(self, method, **parameters):
        number = next(self.numbers)
        request = {"id": number, "method": method, "params": parameters, **({"sessionId": self.session} if self.session else {})}
        os.write(self.commands, json.dumps(request).encode() + b"\0")
        while (answer := self.message()).get("id") != number:
            pass
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def value(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)["result"].get("value")

    def open(self, url, width, scheme):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        wait_for(f"{url} to be loaded", lambda: self.value(f"location.href === {json.dumps(url)} && document.readyState === 'complete'"), 30)

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


def expected_rows(http, run):
    """Page -> how many rows its tables have together, by the interface for programs."""
    def get(path):
        with urllib.request.urlopen(http + path, timeout=30) as answer:
            return json.load(answer)

    costs = [len(get(f"/v1/costs?{query}")["rows"]) for query in ("by=run", f"by=class&run={run}", f"by=attempt&run={run}")]
    return {
        "/": len(get("/v1/runs")["runs"]),
        f"/runs/{run}": len(get(f"/v1/runs/{run}")["attempts"]) + costs[1] + costs[2],
        "/cost": costs[0],
        "/registry": len(get("/v1/registry/models")["items"]) + len(get("/v1/registry/adapters")["items"]),
        "/registry/t/thing": 2,  # one version, one alias
        "/workers": sum(len(worker["devices"]) for worker in get("/v1/workers")["workers"]),
    }


def check_page(browser, url, width, scheme, rows):
    browser.open(url, width, scheme)
    assert browser.value("document.querySelectorAll('tbody tr').length") == rows, (url, rows)
    assert rows > 0, url
    sideways = browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert sideways <= 0, f"{url} at {width} pixels is {sideways} pixels wider than the window"
    red, green, blue = json.loads(browser.value("JSON.stringify(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3))"))
    assert (int(red) + int(green) + int(blue) > 384) == (scheme == "light"), (url, scheme, red, green, blue)


def check_chart(browser):
    """The curve is on the page, and the canvas has ink."""
    wait_for("the curve", lambda: browser.value("!document.getElementById('curve').hidden && typeof chart !== 'undefined' && !!chart"), 30)
    assert browser.value("chart.data.datasets.map(set => set.data.length).join()") == "12,3"
    assert browser.value("(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(byte => byte))(document.getElementById('chart'))")


def make_runs(home):
    home.tiny_model()
    for file, rows in (("train", 48), ("valid", 8)):
        home.write(f"{file}.jsonl", "".join(json.dumps({"prompt": f"The {file} number {i} is", "completion": f" {i % 7}."}) + "\n" for i in range(rows)))
    run = home.lorry("submit", home.write("tune.yaml", FINETUNE), "--wait")["run"]
    home.lorry("submit", home.write("good.yaml", COMMAND % ("good", "<b>not bold</b>" * 20, 0)), "--wait")
    home.lorry("submit", home.write("bad.yaml", COMMAND % ("bad", "gone", 3)), "--wait", status=1)
    return run


def main():
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with Home() as home, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        run = make_runs(home)
        http = home.addresses["http"].rstrip("/")
        pages = expected_rows(http, run)
        browser = Browser(folder)
        try:
            for (page, rows), (device, width), scheme in itertools.product(pages.items(), WIDTHS.items(), ("light", "dark")):
                check_page(browser, http + page, width, scheme, rows)
                if page.startswith("/runs/"):
                    check_chart(browser)
                name = page.replace(run, "run").strip("/").replace("/", "-") or "runs"
                browser.picture(out / f"{name}-{device}-{scheme}.png")
            assert not browser.faults, browser.faults
        finally:
            browser.close()
    print(f"{len(pages)} pages at {len(WIDTHS)} widths, light and dark: pictures in {out}")


main()
