#!/usr/bin/env python3
"""Makes docs/pictures/report.png from a report: stretches of the page side by side.

    make_report_picture.py REPORT.html docs/pictures/report.png L3-70 detection

What stands behind the files are ids of headings on the page; the first stretch is its top. Needs Chromium and Pillow. The picture in the
project is of the demo study's report, written with --latents 1 (headless Chromium draws no page longer than 16,384 pixels).
"""
import json
import os
import re
import subprocess
import sys
import tempfile

from PIL import Image

WIDTH, HEIGHT, PAGE = 880, 1240, 13000
source, target, headings = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:]
base = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--blink-settings=preferredColorScheme=1", f"--window-size={WIDTH},{PAGE}"]
with open(source, encoding="utf-8") as file:
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", file.read())
script = "<script>onload=()=>{const o={};for(const e of document.querySelectorAll('[id]'))o[e.id]=Math.round(e.getBoundingClientRect().top);document.title='PLACES'+JSON.stringify(o)+'END'}</script>"
with tempfile.TemporaryDirectory() as folder:
    with open(folder + "/page.html", "w", encoding="utf-8") as file:
        file.write(page.replace("</body>", script + "</body>"))
    dom = subprocess.run(base + ["--virtual-time-budget=5000", "--dump-dom", f"file://{folder}/page.html"], capture_output=True, text=True, check=True).stdout
    places = json.loads(re.search(r"PLACES(\{.*?\})END", dom)[1].replace("&quot;", '"'))
    subprocess.run(base + [f"--screenshot={folder}/page.png", "file://" + source], capture_output=True, check=True)
    whole = Image.open(folder + "/page.png").convert("RGB")
tops = [0] + [places[heading] - 8 for heading in headings]
assert max(tops) + HEIGHT <= PAGE, "the page is too long"
picture = Image.new("RGB", (len(tops) * WIDTH + (len(tops) - 1) * 16, HEIGHT), (200, 205, 212))
for i, top in enumerate(tops):
    picture.paste(whole.crop((0, top, WIDTH, top + HEIGHT)), (i * (WIDTH + 16), 0))
picture = picture.resize((picture.width * 11 // 20, picture.height * 11 // 20), Image.Resampling.LANCZOS).quantize(128, dither=Image.Dither.NONE)
picture.save(target, optimize=True)
print(target, picture.size, os.path.getsize(target), "bytes")
