"""Compares kcl-helper's reading of kclpy's command line with the real amazon_kclpy_helper.py.

Usage: compare.py KCLPY HELPER DAEMON LINES

KCLPY is the unpacked source of a kclpy, DAEMON the daemon's version for HELPER. LINES command lines are made
from a fixed seed, and all pairs of words come first. Exits with 1 at the first ten that differ.
"""

import contextlib
import io
import itertools
import json
import os
import random
import runpy
import subprocess
import sys

kclpy, helper, daemon, lines = sys.argv[1:5]
lines = int(lines)
script = os.path.join(kclpy, "samples", "amazon_kclpy_helper.py")
sys.path.insert(0, kclpy)

# One jar, which both have.
listed = subprocess.run(
    [helper, "jars", "list", "--kcl-version", daemon, "--format", "json"], check=True, capture_output=True, text=True
).stdout
jar = json.loads(listed)[0]["file"]
theirs = os.path.join(kclpy, "amazon_kclpy", "jars")
ours = os.path.join(os.environ["KCL_HELPER_CACHE"], "jars", daemon)
for folder in (theirs, ours):
    os.makedirs(folder, exist_ok=True)
    open(os.path.join(folder, jar), "w").close()
    assert [name for name in os.listdir(folder) if name.endswith("jar")] == [jar], folder

WORDS = [
    # One of each option's spellings and forms, and what is no option.
    ["--print_command"],
    ["--print_classpath"],
    ["--print_com"],
    ["--print_c"],
    ["--print_command=x"],
    ["-j", "java"],
    ["-jjava -Xmx1g"],
    ["--java=/opt/a b/java"],
    ["--jav", "$JAVA"],
    ["-j", ""],
    ["-p", "app.properties"],
    ["--properties", "/etc/app/../x.properties"],
    ["--props=a/b/"],
    ["--prop", "$HOME/p"],
    ["-p="],
    ["-pp"],
    ["--sample"],
    ["--samp"],
    ["--use-sample-properties"],
    ["-c", ""],
    ["-c", "a/./b"],
    ["--path", "//x"],
    ["--classpath=..", "-c/..//y/"],
    ["-l", "logback.xml"],
    ["--log-configuration", ""],
    ["--l=x"],
    ["-h"],
    ["-x"],
    ["--unknown"],
    ["word"],
    ["--"],
    ["-1"],
    ["-j"],
    ["-"],
    ["-p", "-x y"],
]
# Options that make a whole command, so that most lines print one.
WHOLE = [["--print_command"], ["-j", "java"], ["-p", "conf/app.properties"]]


def command_lines():
    yield []
    for count in (1, 2):
        for words in itertools.permutations(WORDS, count):
            yield sum(words, [])
    chance = random.Random(1)
    while True:
        words = chance.sample(WHOLE, chance.randint(1, 3)) + chance.sample(WORDS, chance.randint(0, 4))
        chance.shuffle(words)
        yield sum(words, [])


def first_word_is_kclpys(words):
    """What kcl-helper cannot take for kclpy's: it has options and commands of its own."""
    return words and words[0] not in ("-h", "-x", "--unknown", "word", "--", "-1", "-")


def run_theirs(words):
    out, err = io.StringIO(), io.StringIO()
    status = 0
    sys.argv = [script, *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
    out = out.getvalue()
    sample = os.path.join(kclpy, "samples")
    return status, normal(out.replace(theirs, "JARS").replace(sample, "SAMPLE")), err.getvalue()


def run_ours(words):
    done = subprocess.run([helper, *words], capture_output=True, text=True)
    sample = os.path.join(os.environ["HOME"], ".local/share/kcl-helper")
    return done.returncode, normal(done.stdout.replace(ours, "JARS").replace(sample, "SAMPLE")), done.stderr


def normal(out):
    """The text of the usage is each one's own."""
    return "usage\n" if out.startswith("usage:") else out


def differs(words):
    status, out, err = run_theirs(words)
    our_status, our_out, our_err = run_ours(words)
    same = (status, out) == (our_status, our_out)
    # Both say on stderr what is wrong, or that something is replaced.
    same = same and (bool(err.strip()) <= bool(our_err.strip()))
    return None if same else f"{words}\n  kclpy: {status} {out!r} {err[-200:]!r}\n  ours:  {our_status} {our_out!r} {our_err!r}"


compared, different = 0, []
for words in command_lines():
    if compared == lines or len(different) == 10:
        break
    if not first_word_is_kclpys(words):
        continue
    compared += 1
    if found := differs(words):
        different.append(found)
print("\n".join(different))
print(f"{compared} command lines compared, {len(different)} differ")
sys.exit(bool(different))
