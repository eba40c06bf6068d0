"""What is committed must run anywhere and give nothing away: no registry's address, no machine's path, no secret.

Hosts and planted lines are put together from pieces so that this file does not match itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from architecture.house import ROOT, committed

pytestmark = pytest.mark.xdist_group("architecture")  # one process parses the tree, once

# Hosts that serve packages. A lock needs hashes, not addresses: whoever installs chooses where from.
_HOSTS = [
    host.replace(" ", r"\.")
    for host in (
        "pypi org",
        "pythonhosted org",
        "registry npmjs org",
        "proxy golang org",
        "crates io",
        "rubygems org",
        "anaconda org",
        "deb debian org",
        "archive ubuntu com",
    )
]
_OPTIONS = ["index-url", "extra-index-url", "find-links", "trusted-host", "default-index"]
_PLACES = ["work", "farm", "opt", "root", "mnt", "srv", "nix", "workspaces?", "private/var", r"home/\w+", r"Users/\w+"]

RULES = {
    "a package registry's host": re.compile(rf"\b(?:{'|'.join(_HOSTS)})\b", re.IGNORECASE),
    "an option that names a registry": re.compile(rf"--(?:{'|'.join(_OPTIONS)})\b|\[\[?tool\.uv\.(?:index|sources)"),
    "an address in a registry": re.compile(
        r"(?:https?|file)://[^\s\"']*(?:/simple\b|/packages/[0-9a-f]{2}/|/debian/(?:pool|dists)|/artifactory/)"
    ),
    "the address of a wheel, an sdist or a tarball": re.compile(
        r"(?:https?|file|git\+\w+)://[^\s\"']*\.(?:whl|tar\.gz|tar\.bz2|tgz|zip|deb)\b|\bgit\+(?:https?|ssh)://"
    ),
    "a path of a machine": re.compile(rf"(?<![\w.~$}})\]*-])/(?:{'|'.join(_PLACES)})/[\w.-]+|\b[A-Z]:\\Users\\"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*(?:\\n)?[A-Za-z0-9+/]{40}"),
    "a key of a cloud": re.compile(r"\b(?:AKIA|ASIA)(?!\w*(?:EXAMPLE|CANARY|TEST))[0-9A-Z]{16}\b|\bAIza[\w-]{35}\b"),
    "a token of a service": re.compile(
        r"\bxox[abeoprs]-\d{8,}-\d{8,}-[A-Za-z0-9]{16,}|\bgh[opsu]_[A-Za-z0-9]{36}|\bgithub_pat_\w{40,}"
        r"|\b[sr]k_live_[A-Za-z0-9]{16,}|\bSG\.[\w-]{20,}\.[\w-]{20,}|\bph[cx]_[A-Za-z0-9]{32,}|\bre_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}"
        r"|\bglpat-[\w-]{20}|\bpypi-[\w-]{40,}|hooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{20,}"
        r"|\beyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}"
    ),
    "a password in an address": re.compile(
        r"\b(?:postgres(?:ql)?|mysql|redis|amqp|smtps?|https?)(?:\+\w+)?://[\w.-]+:(?=[^@\s\"']*\d)(?=[^@\s\"']*[a-zA-Z])"
        r"[\w!$%^&*+=-]{12,}@(?!127\.0\.0\.1|localhost)[\w.-]+"
    ),
}

ALLOWED: dict[str, str] = {}
"""``path: what is written there`` to the reason it may stay."""


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, rule and match for everything in ``text`` that must not be committed."""
    for rule, pattern in RULES.items():
        for found in pattern.finditer(text):
            yield text.count("\n", 0, found.start()) + 1, rule, found[0]


def test_no_committed_file_names_a_registry_a_machine_or_a_secret():
    wrong = []
    for path in committed():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a font or a picture
        text = re.sub(r"--hash=\S+", "", text)  # most of what is in the locks, and harmless
        wrong += [
            f"{path}:{line}: {rule}: {said}" for line, rule, said in findings(text) if f"{path}: {said}" not in ALLOWED
        ]
    assert wrong == []


def test_no_file_that_holds_secrets_is_committed():
    names = {".env", ".netrc", ".pypirc", "pip.conf", "uv.toml", "id_rsa", "id_ed25519", "credentials.json"}
    assert [str(path) for path in committed() if path.name in names or path.suffix in {".pem", ".p12", ".pfx"}] == []


LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_locks_hold_hashes_and_no_addresses(lock):
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert re.findall(r"^(?![\w#]|    (?:--hash=sha256:[0-9a-f]{64}|# via)).+$", text, re.MULTILINE) == []
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[\w.-]+(?:\[[\w, -]+\])?==\S+", block), block.splitlines()[0]
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_locks_agree():
    pins = {
        lock.stem: set(
            re.findall(r"^([\w.-]+)(?:\[[\w, -]+\])?==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
        )
        for lock in LOCKS
    }
    assert set(pins) == {"run", "image", "test", "lint", "bench"}
    assert pins["run"] <= pins["image"] <= pins["test"]
    assert pins["test"] <= pins["lint"]
    assert pins["test"] <= pins["bench"]


@pytest.mark.parametrize(
    "planted",
    [
        "https://files.python" + "hosted.org/packages/ab/cd/x",
        "see py" + "pi.org/project/x",
        "--index-" + "url https://example.com/",
        "-i https://mirror.example.com/" + "simple",
        "x @ https://example.com/x-1.0-py3-none-any" + ".whl",
        "x @ git+" + "https://example.com/x",
        "https://example.com/x-1.0" + ".tar.gz",
        "deb http://mirror.example.com/" + "debian/pool/main",
        "cd /wo" + "rk/main",
        "open('/ho" + "me/ann/x.csv')",
        "C:" + "\\Users\\ann",
        "AK" + "IA" + "ABCDEFGHIJKLMNOP",
        "xox" + "b-123456789012-123456789012-abcdefghijklmnopqrst",
        "gh" + "p_" + "a" * 36,
        "sk_" + "live_" + "a" * 24,
        "-----BEGIN RSA PRIVATE " + "KEY-----\n" + "A" * 64,
        "postgresql://app:" + "s3cretPassw0rd" + "@db.example.com/app",
        "hooks.slack.com/services/" + "T12345678/B12345678/" + "a" * 24,
    ],
)
def test_each_rule_bites(planted):
    assert {line for line, _, _ in findings(f"fine\n{planted}\n")} == {2}


@pytest.mark.parametrize(
    "harmless",
    [
        "https://keepachangelog.com/en/1.1.0/",
        "/usr/lib/postgresql",
        "https://example.com/home/page",
        "POST /v1/networks/reporting/entity/table",
        "postgresql://postgres@127.0.0.1:5432/t",
        "smtp://user:pass@127.0.0.1:25",
        "AKIACANARYCANARY1234",
        "network/simple rules",
    ],
)
def test_what_is_harmless_passes(harmless):
    assert list(findings(harmless)) == []
