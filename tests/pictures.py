"""Pictures of `muster explain` and `muster top` on a running demo, as SVG, and the heads of the live page, which its picture keeps:
pictures.py MUSTER URL DIRECTORY.

Each command runs on a terminal of its own (pty), because only there does it draw in full. rich turns what the terminal got into a
picture. The picture loads nothing: rich's own template would load a font from another host.
"""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import urllib.request
import zlib
from pathlib import Path

from rich import _export_format
from rich.console import Console
from rich.text import Text

LARGEST = 150_000  # bytes of one picture
WIDEST = 140  # characters of a line
FONT = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace'
FORMAT = re.sub(r"<!--.*?-->|@font-face \{\{.*?\}\}", "", _export_format.CONSOLE_SVG_FORMAT, flags=re.DOTALL)
FORMAT = FORMAT.replace("Fira Code, monospace", FONT).replace("font-family: arial", "font-family: sans-serif")


def on_a_terminal(command, width, height, keys=b"", until=0.0):
    """What the command writes on a terminal of this size. `keys` are pressed after `until` seconds."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "CLICOLOR_FORCE": "1"}
    environment.pop("NO_COLOR", None)
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True)
    os.close(theirs)
    heard, begun, pressed, deadline = b"", time.monotonic(), not keys, time.monotonic() + 30
    while time.monotonic() < deadline:
        if not pressed and time.monotonic() - begun > until:
            os.write(ours, keys)
            pressed = True
        if select.select([ours], [], [], 0.1)[0]:
            try:
                got = os.read(ours, 65536)
            except OSError:  # Linux says so when the other side is closed
                got = b""
            if not got:
                break
            heard += got
    else:
        child.kill()
        sys.exit(f"pictures: {command} did not end")
    if child.wait() != 0:
        sys.exit(f"pictures: {command} failed:\n{heard.decode()}")
    # The terminal puts a carriage return before each line break, also where the command has written one.
    return re.sub("\r+\n", "\n", heard.decode())


def draw(text, title, width, path):
    console = Console(width=width, record=True, file=open(os.devnull, "w"), color_system="standard", force_terminal=True, legacy_windows=False)
    console.print(Text.from_ansi(text, overflow="fold"))
    picture = console.export_svg(title=title, code_format=FORMAT, unique_id=path.stem)
    if "http" in picture.replace("http://www.w3.org/2000/svg", ""):
        sys.exit(f"pictures: {path} loads something from elsewhere")
    if len(picture) > LARGEST:
        sys.exit(f"pictures: {path} has {len(picture)} bytes, and {LARGEST} is the most")
    path.write_text(re.sub(r"[ \t]+$", "", picture, flags=re.MULTILINE))
    print(f"pictures: {path}, {len(picture)} bytes")


def keep_heads(url, path):
    """Writes the heads of the page and of its tables into its picture, as a text that no viewer shows. A test compares them with
    those of the page of its day, so that an old picture is noticed."""
    with urllib.request.urlopen(f"{url}/", timeout=5) as answer:
        page = answer.read().decode()
    found = re.findall(r'<h2(?! id="h-attention")[^>]*>(.*?)</h2>|<th scope="col"[^>]*>(.*?)</th>', page, flags=re.DOTALL)
    heads = sorted({re.sub(r"<[^>]*>|:.*", "", h or th).strip() for h, th in found} - {""})
    if len(heads) < 10:
        sys.exit(f"pictures: the page has only the heads {heads}")
    picture = path.read_bytes()
    said = b"tEXtDescription\0" + "\n".join(heads).encode("latin-1")
    chunk = struct.pack(">I", len(said) - 4) + said + struct.pack(">I", zlib.crc32(said))
    after = 8 + 25  # the signature, and the first chunk, IHDR
    path.write_bytes(picture[:after] + chunk + picture[after:])
    print(f"pictures: {path} keeps {len(heads)} heads")


def main(muster, url, directory):
    keep_heads(url, directory / "live-page.png")

    def items(path):
        with urllib.request.urlopen(f"{url}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["items"]

    width, height = 110, 32
    jobs = items("jobs")
    # A job that waits tells most. If none waits at this moment, one that runs. Of those that fit a page, the longest story.
    waiting = [job for job in jobs if job["state"] == "queued" and job.get("pool")]
    told = {job["id"]: on_a_terminal([muster, "explain", str(job["id"]), "--controller", url], 300, height) for job in (waiting or jobs)[:8]}
    widest = {job: max(len(line) for line in text.splitlines()) for job, text in told.items()}
    fits = [one for one in widest if widest[one] <= WIDEST] or list(widest)
    job = max(fits, key=lambda one: (len(told[one].splitlines()), -one))
    text = f"\x1b[1m$ muster explain {job}\x1b[0m\n{told[job]}"
    draw(text, "muster explain", min(max(widest[job], width), WIDEST), directory / "explain.svg")
    drawn = on_a_terminal([muster, "top", "--controller", url], width, height, keys=b"q", until=5.0)
    # Each frame begins in the upper left corner; the last whole one is drawn.
    frames = [frame for frame in drawn.split("\x1b[H")[1:] if "\x1b[J" in frame]
    last = frames[-1].split("\x1b[J")[0].replace("\x1b[K", "")
    draw(last, "muster top", width, directory / "top.svg")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].rstrip("/"), Path(sys.argv[3]))
