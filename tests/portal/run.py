"""The developer portal, judged from outside: the contract by its linters and a fuzzer, SDKs of four languages by one
scenario, the code of the guides, the Postman collection, and webhooks by the verifiers of Standard Webhooks.

Usage: run.py AIHUB NODE_MODULES [--seconds N]
AIHUB is the program; NODE_MODULES is the folder with package.json's packages. The server is one of its own.
"""

import argparse
import contextlib
import datetime
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import requests
import standardwebhooks
import yaml
from openapi_spec_validator import validate

HERE = pathlib.Path(__file__).parent
GUIDES = HERE.parent.parent / "api/portal/guides"
LANGUAGES = ["python", "javascript", "php", "curl"]
READY_SECONDS_MAX = 60
UTC = datetime.timezone.utc


def ran(command, **options):
    """Runs a command, and gives what it says. Fails with it."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    if done.returncode != 0:
        said = f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        sys.exit(f"{' '.join(map(str, command))[:300]} ended with {done.returncode}:\n{said}")
    return done.stdout


class Server:
    """A server with an organization, and keys of it and of staff."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.environment = {"PATH": os.environ["PATH"], "AIHUB_HOOKS__ALLOW_PRIVATE": "true"}
        options = {"env": self.environment}
        ran([program, "--dir", folder, "organization", "create", "org_sdk", "--name", "SDK", "--country", "DE"], **options)
        make = [program, "--dir", folder, "key", "create", "--name", "sdk", "--scopes"]
        self.key = ran([*make, "read,write", "--organization", "org_sdk"], **options).strip()
        self.admin = ran([*make, "read,write,admin"], **options).strip()
        self.process = subprocess.Popen(
            [program, "--dir", folder, "serve", "--port", "0", "--format", "json"],
            env=self.environment, stdout=subprocess.PIPE, stderr=open(folder / "server.log", "w"), text=True,
        )
        self.url = json.loads(self.process.stdout.readline())["url"]
        ready = time.monotonic() + READY_SECONDS_MAX
        while requests.get(self.url + "/readyz", timeout=5).status_code != 200:
            assert time.monotonic() < ready, "the server is not ready"
            time.sleep(0.2)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0, "the server did not end as it should"

    def asked(self, method, path, expected=200, key=None, **options):
        headers = {"Authorization": "Bearer " + (key or self.key)} | options.pop("headers", {})
        answer = requests.request(method, self.url + path, headers=headers, timeout=60, **options)
        assert answer.status_code == expected, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer


@contextlib.contextmanager
def listening(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()


def faulty(server):
    """Passes requests on; of each idempotency key the first two get 503, and the third's answer is lost."""
    seen = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            key = self.headers["Idempotency-Key"]
            seen[key] = seen.get(key, 0) + 1
            if seen[key] <= 2:
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            names = ("Authorization", "Content-Type", "Idempotency-Key")
            headers = {name: self.headers[name] for name in names}
            answer = requests.post(server.url + self.path, data=body, headers=headers, timeout=60)
            if seen[key] == 3:
                self.close_connection = True
                return
            assert answer.headers.get("Idempotency-Replayed") == "true", answer.headers
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_):
            pass

    return Handler, seen


class Loader(yaml.SafeLoader):
    """YAML 1.2 has no times: they are texts."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def lint(server, node, folder):
    redocly = node / ".bin/redocly"
    for name in ("openapi.json", "openapi-3.0.json"):
        document = requests.get(f"{server.url}/{name}", timeout=60)
        (folder / name).write_bytes(document.content)
        validate(document.json())
        said = ran([redocly, "lint", folder / name, "--format=json", "--extends=recommended"], cwd=folder)
        problems = json.loads(said[said.index("{") :])["problems"]
        assert not problems, f"{name}: {problems[:3]}"
    served = yaml.load(requests.get(server.url + "/openapi.yaml", timeout=60).text, Loader)
    assert served == json.loads((folder / "openapi.json").read_text()), "YAML and JSON differ"
    recorded = yaml.load((GUIDES.parent / "src/contract/answers.yaml").read_text(), Loader)
    shown = {
        operation["operationId"] for item in served["paths"].values() for operation in item.values()
        for status, answer in operation["responses"].items()
        if status.startswith("2") and "example" in answer.get("content", {}).get("application/json", {})
    }
    assert recorded.keys() == shown, f"answers.yaml and the contract differ: {recorded.keys() ^ shown}"
    print("the contract: nothing to say, in 3.1 and in 3.0.3")
    return served


def install(server, node, folder):
    """The SDKs as the command writes them, installed as their READMEs say; what is downloaded is the same."""
    homes = {}
    for language in LANGUAGES:
        home = folder / f"aihub-analytics-{language}"
        ran([server.program, "sdk", "--lang", language, "--out", home], env=server.environment)
        archive = folder / f"{language}.zip"
        archive.write_bytes(requests.get(f"{server.url}/v1/dev/sdk/{language}.zip", timeout=60).content)
        shutil.unpack_archive(archive, folder / "downloaded")
        ran(["diff", "-r", home, folder / "downloaded" / home.name])
        homes[language] = home
    ran([sys.executable, "-m", "venv", folder / "venv"])
    ran([folder / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", homes["python"]])
    modules = folder / "node_modules"
    modules.mkdir()
    (modules / "aihub-analytics").symlink_to(homes["javascript"])
    (modules / "standardwebhooks").symlink_to(node / "standardwebhooks")
    return homes


def scenarios(server, folder, homes):
    handler, seen = faulty(server)
    noon = datetime.datetime.now(UTC) - datetime.timedelta(minutes=5)
    with listening(handler) as proxy:
        environment = os.environ | {
            "AIHUB_URL": server.url,
            "AIHUB_API_KEY": server.key,
            "AIHUB_FAULTY_URL": f"http://127.0.0.1:{proxy.server_port}",
            "SCENARIO_TIME": noon.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        said = {}
        # A module is looked for beside its program.
        shutil.copy(HERE / "scenario.mjs", folder / "scenario.mjs")
        for language in LANGUAGES:
            command = {
                "python": [folder / "venv/bin/python", HERE / "scenario.py"],
                "javascript": ["node", folder / "scenario.mjs"],
                "php": ["php", HERE / "scenario.php"],
                "curl": ["sh", HERE / "scenario.sh"],
            }[language]
            of_this = environment | {"SDK": str(homes[language])}
            said[language] = json.loads(ran([*command, language], cwd=folder, env=of_this))
    assert sorted(seen.values()) == [4] * len(LANGUAGES), f"attempts by idempotency key: {seen}"
    expected = {
        "accepted": 7, "duplicate": 7, "queued": 23, "rejected": ["invalid_value"],
        "rows": [{"n": 30, "tokens": 465}], "metric": 30, "error": [404, "not_found", True],
        "query_error": said["python"]["query_error"], "pages": 30, "retried": True,
    }
    for language, found in said.items():
        assert found == expected, f"{language}: {found}, and not {expected}"
    texts = [one["text"] for one in server.asked("GET", "/v1/annotations").json()["annotations"]]
    assert sorted(texts) == sorted(LANGUAGES), f"a retry was done twice: {texts}"
    print(f"SDKs: {len(said)} languages say {said['python']}")


def guides(server, folder, homes):
    """The code of a guide is one program for each language."""
    environment = os.environ | {"AIHUB_URL": server.url, "AIHUB_API_KEY": server.key}
    count = 0
    for guide in sorted(GUIDES.glob("*.md")):
        if guide.name.endswith(".zh-CN.md"):
            continue
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", guide.read_text(), re.MULTILINE | re.DOTALL)
        for language in LANGUAGES:
            code = "\n".join(code for name, code in blocks if name == language)
            if not code:
                continue
            if language == "php":
                code = f"<?php\nrequire '{homes['php']}/autoload.php';\n{code}"
            if language == "curl":
                code = f'set -eu\ncurl() {{ command curl --fail-with-body "$@"; }}\n{code}'
            program = folder / f"guide.{dict(python='py', javascript='mjs', php='php', curl='sh')[language]}"
            # The guide of errors asks for what is not there.
            if language == "curl" and guide.name == "errors.md":
                code = code.replace(" --fail-with-body", "")
            program.write_text(code)
            command = {"python": folder / "venv/bin/python", "javascript": "node", "php": "php", "curl": "bash"}
            said = ran([command[language], program], cwd=folder, env=environment)
            assert said.strip(), f"{guide.name} in {language} says nothing"
            count += 1
        for name, code in blocks:
            assert name in [*LANGUAGES, "json"], f"{guide.name} has a block of `{name}`"
            if name == "json":
                json.loads(code)
    print(f"guides: {count} programs ran")
    readme = (homes["python"] / "README.md").read_text()
    first = re.search(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL).group(1)
    lines = [line for line in first.splitlines() if line.strip()]
    assert len(lines) <= 6, f"the first event takes {len(lines)} lines"


def samples(server, contract, folder, homes):
    """The samples of all operations are programs of their languages: they are compiled."""
    operations = [one["operationId"] for item in contract["paths"].values() for one in item.values()]
    programs = {language: [] for language in LANGUAGES}
    for operation in operations:
        code = server.asked("GET", f"/v1/dev/snippets?op={operation}").json()["code"]
        for language in LANGUAGES:
            programs[language].append((operation, code[language]))
    for operation, code in programs["python"]:
        compile(code, operation, "exec")
    for language, command in [("javascript", ["node", "--check"]), ("php", ["php", "-l"]), ("curl", ["bash", "-n"])]:
        ending = dict(javascript="mjs", php="php", curl="sh")[language]
        # One file for each would start a process for each.
        whole = folder / f"samples.{ending}"
        if language == "curl":
            whole.write_text("\n".join(code for _, code in programs[language]))
        else:
            opening = "" if language == "javascript" else "<?php\n"
            bodies = (code.replace("<?php\n", "") for _, code in programs[language])
            wrapped = (re.sub(r"^import .*$", "", body, flags=re.MULTILINE) for body in bodies)
            begin = "async () => {" if language == "javascript" else "function () {"
            whole.write_text(opening + ";\n".join(f"({begin}\n{body}\n}})" for body in wrapped) + ";\n")
        ran([*command, whole])
    print(f"samples: {len(operations)} operations in {len(LANGUAGES)} languages")


def postman(server, node, folder):
    """The whole collection is run by newman, with the key of an organization and with that of an administrator."""
    collection, environment = folder / "collection.json", folder / "environment.json"
    collection.write_bytes(requests.get(server.url + "/v1/dev/postman.json", timeout=60).content)
    values = requests.get(server.url + "/v1/dev/postman-environment.json", timeout=60).json()
    count = 0
    for key in (server.key, server.admin):
        for value in values["values"]:
            if value["key"] == "api_key":
                value["value"] = key
        environment.write_text(json.dumps(values))
        report = folder / "newman.json"
        command = [node / ".bin/newman", "run", collection, "-e", environment, "--reporters", "json"]
        done = subprocess.run(
            [*command, "--reporter-json-export", report, "--timeout-request", "20000"],
            capture_output=True, text=True, timeout=300,
        )
        run = json.loads(report.read_text())["run"]
        failures = [(one["source"].get("name"), one["error"]["message"]) for one in run["failures"]]
        assert done.returncode == 0 and not failures, f"newman: {failures[:40]} {done.stderr[-500:]}"
        count += run["stats"]["requests"]["total"]
    print(f"Postman: newman made {count} requests; every answer is one of the contract")


def fuzz(server, folder, seconds):
    """Schemathesis asks what the contract permits, and what it does not: no 5xx, and no answer that is not in it."""
    report = folder / "schemathesis.log"
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    skipped = ["stream_usage", "login", "register", "forgot_password", "erase_persons", "logout_everywhere", "logout"]
    command = [
        pathlib.Path(sys.executable).parent / "schemathesis", "run", server.url + "/openapi.json",
        "--header", f"Authorization: Bearer {server.admin}", "--checks", checks, "--phases", "examples,fuzzing",
        "--max-examples", str(max(2, seconds // 20)), "--request-timeout", "30", "--workers", "2", "--seed", "1",
        "--suppress-health-check", "all", "--generation-database", "none", "--continue-on-failure",
    ]
    for operation in skipped:
        command += ["--exclude-operation-id", operation]
    with open(report, "w") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, timeout=seconds * 20 + 600)
    text = report.read_text()
    if done.returncode != 0:
        failures = text[max(0, text.find("FAILURES")) :]
        sys.exit(f"schemathesis:\n{failures[:12000]}")
    cases = re.search(r"(\d+) generated", text)
    print(f"schemathesis: {cases.group(1) if cases else 'some'} cases, no failure")


def webhooks(server, folder):
    """Deliveries are verified by the packages of Standard Webhooks for Python and for Node."""
    caught, plan = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            caught.append((dict(self.headers.items()), body.decode()))
            self.send_response(plan.pop(0) if plan else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    def wait(count):
        until = time.monotonic() + 30
        while len(caught) < count:
            assert time.monotonic() < until, f"{len(caught)} of {count} deliveries came"
            time.sleep(0.05)

    asked = server.asked
    with listening(Handler) as catcher:
        body = {"url": f"http://127.0.0.1:{catcher.server_port}/hook", "events": ["key.created"]}
        owner = {"key": server.admin, "params": {"organization": "org_sdk"}}
        made = asked("POST", "/v1/webhooks", 201, json=body, **owner).json()
        place = f"/v1/webhooks/{made['webhook_id']}"
        asked("POST", place + "/test", 202, **owner)
        wait(1)
        plan.append(500)
        new = {"name": "told", "scopes": ["read"], "organization_id": "org_sdk"}
        asked("POST", "/v1/keys", 201, key=server.admin, json=new)
        wait(3)
        rotated = asked("POST", place + "/rotate-secret", **owner).json()
        asked("POST", place + "/test", 202, **owner)
        wait(4)
        ids = [headers["webhook-id"] for headers, _ in caught]
        assert ids[1] == ids[2] and len(set(ids)) == 3, f"ids of attempts: {ids}"
        for headers, text in caught:
            standardwebhooks.Webhook(made["secret"]).verify(text, headers)
        headers, text = caught[-1]
        standardwebhooks.Webhook(rotated["secret"]).verify(text, headers)
        try:
            standardwebhooks.Webhook(rotated["secret"]).verify(text + " ", headers)
            sys.exit("a forged body is verified")
        except standardwebhooks.webhooks.WebhookVerificationError:
            pass
        (folder / "caught.json").write_text(json.dumps({"caught": caught, "secret": made["secret"]}))
        program = folder / "verify.mjs"
        program.write_text(
            'import { readFileSync } from "node:fs";\nimport { Webhook } from "standardwebhooks";\n'
            'import { verifyWebhook } from "aihub-analytics";\n'
            'const { caught, secret } = JSON.parse(readFileSync("caught.json", "utf8"));\n'
            "for (const [headers, body] of caught) {\n"
            "  const lower = Object.fromEntries(Object.entries(headers).map(([k, v]) => [k.toLowerCase(), v]));\n"
            "  new Webhook(secret).verify(body, lower);\n  await verifyWebhook(body, lower, secret);\n}\n"
            "console.log(caught.length);\n"
        )
        assert ran(["node", program], cwd=folder).strip() == "4"
        listed = asked("GET", place + "/deliveries", **owner).json()["deliveries"]
        assert sorted(one["attempts"] for one in listed) == [1, 1, 2], listed
        asked("DELETE", place, 204, **owner)
    print("webhooks: 4 deliveries, verified by the packages for Python and Node, and by the SDK")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("node", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--only", default="", help="steps, with commas")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "data").mkdir()
        server = Server(options.program, folder / "data")
        try:
            contract = lint(server, options.node, folder)
            homes = install(server, options.node, folder)
            steps = {
                "scenarios": lambda: scenarios(server, folder, homes),
                "guides": lambda: guides(server, folder, homes),
                "samples": lambda: samples(server, contract, folder, homes),
                "webhooks": lambda: webhooks(server, folder),
                "postman": lambda: postman(server, options.node, folder),
                "fuzz": lambda: fuzz(server, folder, options.seconds),
            }
            for name, step in steps.items():
                if not options.only or name in options.only.split(","):
                    step()
        except BaseException:
            sys.stderr.write((folder / "data/server.log").read_text()[-3000:])
            raise
        finally:
            server.stop()


if __name__ == "__main__":
    main()
