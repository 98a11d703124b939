#!/usr/bin/env python3
"""The report on the demo study: made from what all phases wrote, with contexts in programs and in general text. Standard library only.

report.py pages   --bin DIR --demo DIR --data DIR    pages are whole, hold every section, and are the same twice
report.py browser --bin DIR --demo DIR --data DIR    headless Chromium shows them on wide and narrow screens, light, dark and printed: nothing
                                                     overflows, every figure is there; 77 (skipped) where it is missing. --keep DIR keeps pictures
"""
import argparse
import glob
import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=("pages", "browser"))
parser.add_argument("--bin", required=True)
parser.add_argument("--demo", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--keep")
arguments = parser.parse_args()
program = {name: os.path.join(os.path.abspath(arguments.bin), name) for name in ("pva_report", "pva_check", "pva_phase1")}
demo, data = os.path.abspath(arguments.demo), os.path.abspath(arguments.data)


def run(*command, code=0, **more):
    result = subprocess.run(command, capture_output=True, text=True, **more)
    assert result.returncode == code, f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}{result.stderr}"
    return result.stdout


class Balance(html.parser.HTMLParser):
    """Every element that is opened is closed, in order."""
    VOID = {"meta", "link", "br", "hr", "img", "use", "path", "rect", "circle"}

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.ids = [], {}, []

    def handle_starttag(self, tag, attributes):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.ids += [value for name, value in attributes if name == "id"]
        assert not any(name.startswith("on") for name, _ in attributes), (tag, attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
            self.open.pop()


def checked(path):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    balance = Balance()
    balance.feed(text)
    assert not balance.open and "script" not in balance.seen and "img" not in balance.seen, (balance.open, balance.seen)
    assert len(balance.ids) == len(set(balance.ids)), sorted(i for i in set(balance.ids) if balance.ids.count(i) > 1)
    assert data not in text and demo not in text, "the page holds a path of this machine"
    return text, balance.seen


def pages(folder):
    """A copy of the results that names no file twice, with codes of general text and rows at all positions; the pages of all of it and of one latent."""
    results = os.path.join(folder, "data")
    os.makedirs(os.path.join(results, "codes"))
    for name in ("phase0", "phase1_0", "phase1_1", "phase1_2", "phase2", "phase3"):
        if os.path.isdir(os.path.join(data, name)):
            shutil.copytree(os.path.join(data, name), os.path.join(results, name))
    run(program["pva_check"], "--model", demo + "/model", "--sae", demo + "/saes", "--text", demo + "/general_text.jsonl", "--records", "60", "--max-tokens", "128", "--loss-records", "0",
        "--codes", results + "/codes/general_text.h5", "--data", results, "--threads", "1", "--sae-any")
    run(program["pva_phase1"], "--data", results, "--model", demo + "/model", "--problems", demo + "/problems.jsonl", "--max-new-tokens", "128", "--threads", "1", "--positions", "all")
    run(program["pva_report"], results)
    run(program["pva_report"], results, "--latent", "3/70")
    return os.path.join(results, "report.html"), os.path.join(results, "latent_L3-70.html")


def check_pages(folder):
    whole, one = pages(folder)
    text, seen = checked(whole)
    for part in ('id="study"', 'id="solved"', 'id="latents"', 'id="chosen"', 'id="detection"', 'id="caveats"', "Strongest in programs", "Strongest in general_text", "speaks for right", "speaks for wrong"):
        assert part in text, f"{part} is not on the page"
    assert seen["svg"] == seen["figure"] >= 20 and "No figure" not in text, seen
    assert len(re.findall(r'class="t[1-5]', text)) > 30
    single, seen = checked(one)
    assert seen["svg"] == 2 and single.count("<h3") == 1
    again = os.path.join(folder, "again.html")
    run(program["pva_report"], os.path.join(folder, "data"), "--output", again)
    assert pathlib.Path(again).read_bytes() == pathlib.Path(whole).read_bytes(), "the same results give another page"
    run(program["pva_report"], os.path.join(folder, "data"), "--latent", "99/1", code=64)
    run(program["pva_report"], os.path.join(folder, "nothing"), code=65)
    print(len(text), "characters,", len(re.findall("<svg", text)), "figures: good")


# Run in a copy of the page: how wide it gets, and whether every figure has a size and something in it.
MEASURE = """<!DOCTYPE html><html><body><iframe id="frame" style="border:0;width:%dpx;height:900px"></iframe><script>
const frame = document.getElementById("frame");
frame.onload = () => {
  const root = frame.contentDocument.documentElement, wide = [];
  for (const e of frame.contentDocument.body.querySelectorAll("*")) {
    if (e.closest(".scroll") && !e.matches(".scroll") || e.closest("svg") && !e.matches("svg")) continue;
    const box = e.getBoundingClientRect();
    if (box.width > 0 && (box.right > root.clientWidth + 1 || box.left < -1)) wide.push(e.tagName + " " + Math.round(box.right));
  }
  const figures = [...frame.contentDocument.querySelectorAll("figure svg")];
  const empty = figures.filter(s => { const b = s.getBoundingClientRect(); return b.width < 150 || b.height < 90 || s.querySelectorAll("path").length < 5 || s.getBBox().width < 100; });
  document.body.textContent = "MEASURED " + JSON.stringify({width: root.clientWidth, scroll: root.scrollWidth, wide: wide.slice(0, 5), figures: figures.length, empty: empty.length}) + " END";
};
frame.srcdoc = PAGE;
</script></body></html>"""


def in_browser(folder):
    import json
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        print("skipped: no chromium (Debian package chromium)")
        sys.exit(77)
    whole, one = pages(folder)
    pictures = arguments.keep or folder
    os.makedirs(pictures, exist_ok=True)
    base = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={folder}/profile"]
    for path, figures in ((whole, 20), (one, 2)):
        text = pathlib.Path(path).read_text(encoding="utf-8")
        page = json.dumps(re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", text)).replace("</", "<\\/")
        for width in (340, 768, 1280):
            measure = os.path.join(folder, "measure.html")
            pathlib.Path(measure).write_text((MEASURE % width).replace("PAGE", page), encoding="utf-8")
            dom = run(*base, "--window-size=1400,1000", "--virtual-time-budget=8000", "--dump-dom", "file://" + measure, timeout=120)
            found = re.search(r"MEASURED (\{.*?\}) END", dom)
            assert found, dom[-600:]
            seen = json.loads(found[1].replace("&quot;", '"'))
            assert seen["width"] == width and seen["scroll"] <= width and not seen["wide"], f"{path} overflows at {width}: {seen}"
            assert seen["figures"] >= figures and seen["empty"] == 0, seen
        name = pathlib.Path(path).stem.split("_")[0]
        shots = {"light": ["--window-size=1280,9000", "--blink-settings=preferredColorScheme=1"], "dark": ["--window-size=1280,9000", "--blink-settings=preferredColorScheme=0"], "narrow": ["--window-size=500,6000", "--blink-settings=preferredColorScheme=1"]}
        for shot, options in shots.items():
            picture = os.path.join(pictures, f"{name}_{shot}.png")
            run(*base, *options, "--screenshot=" + picture, "file://" + path, timeout=120)
            assert os.path.getsize(picture) > 20000, picture
        assert pathlib.Path(f"{pictures}/{name}_light.png").read_bytes() != pathlib.Path(f"{pictures}/{name}_dark.png").read_bytes(), "the dark theme looks like the light one"
        printed = os.path.join(pictures, f"{name}.pdf")
        run(*base, "--no-pdf-header-footer", "--print-to-pdf=" + printed, "file://" + path, timeout=120)
        assert pathlib.Path(printed).read_bytes().startswith(b"%PDF") and os.path.getsize(printed) > 20000
    print("good; pictures:", *sorted(glob.glob(pictures + "/*.png")))


with tempfile.TemporaryDirectory(prefix="pva_report_") as scratch:
    check_pages(scratch) if arguments.what == "pages" else in_browser(scratch)
