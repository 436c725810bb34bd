"""Draws the text of a terminal on standard input as SVG. Lines that begin with "$ " are what was typed."""

import sys
from html import escape

WIDTH, HEIGHT, MARGIN = 8.4, 19, 16  # of a character, of a line, around the text

lines = [line.rstrip("\n") for line in sys.stdin]
columns = max(len(line) for line in lines)
width, height = round(columns * WIDTH + 2 * MARGIN), len(lines) * HEIGHT + 2 * MARGIN + 18

print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">')
print("<title>A session with ftpfs</title>")
print(f'<rect width="{width}" height="{height}" rx="8" fill="#1d2330"/>')
for at, color in enumerate(("#ff5f57", "#febc2e", "#28c840")):
    print(f'<circle cx="{MARGIN + 6 + at * 20}" cy="16" r="6" fill="{color}"/>')
print('<g font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">')
for at, line in enumerate(lines):
    y = MARGIN + 28 + at * HEIGHT
    typed = line.startswith("$ ")
    if typed:
        print(f'<text x="{MARGIN}" y="{y}" fill="#7bd88f">$</text>')
    text, x, color = (line[2:], MARGIN + 2 * WIDTH, "#ffffff") if typed else (line, MARGIN, "#c3cad9")
    if text:
        length = round(len(text) * WIDTH, 1)
        print(f'<text x="{round(x, 1)}" y="{y}" fill="{color}" textLength="{length}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>')
print("</g>\n</svg>")
