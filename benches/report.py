"""Makes docs/benchmarks from what benches/rows.sh has measured: Markdown, JSON, and charts as SVG.

report.py RESULTS ROWS DIRECTORY VERSION ROUNDS: RESULTS has a line for each measurement, and ROWS is rows.sh, which says
what each row is, and where it is measured.
"""

import datetime, html, json, math, os, re, statistics, sys

FIELDS = ["line", "server", "row", "tool", "verdict", "milliseconds", "peak_mib", "cpu_milliseconds", "wire_bytes", "round_trips"]
LINES = {
    "loopback": "Loopback",
    "20ms-200mbit": "20 ms round trip, 200 Mbit/s",
    "100ms-50mbit": "100 ms round trip, 50 Mbit/s",
}
COLOURS = {"ftpfs": "#0b6e4f", "rclone": "#3f6fb5", "curlftpfs": "#b5543f", "lftp": "#8a6fb0", "curl": "#8c8c8c"}
CURVES = {
    "scale-ls": ("ls of one directory", "entries"),
    "scale-tree": ("ls -lR of a tree, 10 files in each directory", "directories"),
    "scale-readers": ("readers of files of 16 MiB, at once", "readers"),
    "scale-open": ("files open at once", "files"),
    "scale-mounts": ("more mounts of one server, each listed once", "mounts"),
    "scale-read": ("read of one file", "GiB"),
    "scale-write": ("write of one file", "GiB"),
}
ROUNDS_OF_A_WHOLE_RUN = 5


def read(path):
    for line in open(path):
        values = dict(zip(FIELDS, line.rstrip("\n").split("\t")))
        yield {key: int(value) if key in FIELDS[5:] else value for key, value in values.items()}


def cells(measured):
    """One for each line, server, row and tool: medians, and the spread of the times."""
    groups = {}
    for one in measured:
        groups.setdefault((one["line"], one["server"], one["row"], one["tool"]), []).append(one)
    for (line, server, row, tool), all_of_it in groups.items():
        cell = {"line": line, "server": server, "row": row, "tool": tool, "rounds": len(all_of_it)}
        wrong = [one["verdict"] for one in all_of_it if one["verdict"] != "ok"]
        if wrong:
            yield cell | {"failed": wrong[0]}
            continue
        times = [one["milliseconds"] / 1000 for one in all_of_it]
        middle = lambda field: statistics.median(one[field] for one in all_of_it)
        cell |= {"seconds": statistics.median(times), "fastest": min(times), "slowest": max(times)}
        cell |= {"peak_mib": middle("peak_mib"), "cpu_seconds": middle("cpu_milliseconds") / 1000}
        cell |= {"wire_bytes": middle("wire_bytes")}
        if line != "loopback":
            cell |= {"round_trips": middle("round_trips")}
        yield cell


def whole_lines(all_cells, rows, rounds):
    """The lines on which all rows were measured in all rounds, without those of scale, which have curves of their own."""
    if rounds < ROUNDS_OF_A_WHOLE_RUN:
        return []
    ours = {(cell["line"], cell["row"]) for cell in all_cells if cell["tool"] == "ftpfs" and cell["rounds"] >= rounds}
    place_of = {line: "lan" if line == "loopback" else "wan" for line in LINES}
    wanted = {line: [name for name, places, _ in rows if place_of[line] in places.split(",")] for line in LINES}
    return [line for line in LINES if all((line, name) in ours for name in wanted[line])]


def shown(seconds):
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}"


def svg(width, height, body):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12"><rect width="{width}" height="{height}" fill="white"/>{body}</svg>\n'
    )


def text(x, y, words, anchor="start", colour="#222"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{html.escape(str(words))}</text>'


def decades(values):
    low, high = min(values), max(values)
    first = math.floor(math.log10(low))
    return first, max(first + 1, math.ceil(math.log10(high)))


def bars(title, rows):
    """A chart with a logarithmic scale: for each row, a bar for each tool."""
    left, right, bar, gap, top = 150, 90, 14, 12, 60
    first, last = decades([cell["seconds"] or 0.001 for row in rows.values() for cell in row])
    width = 820
    scale = lambda seconds: left + (math.log10(max(seconds, 0.001)) - first) / (last - first) * (width - left - right)
    tools = sorted({cell["tool"] for row in rows.values() for cell in row}, key=list(COLOURS).index)
    body, y = text(10, 20, f"{title}: seconds, shorter is better"), top
    for at, tool in enumerate(tools):
        body += f'<rect x="{left + at * 90}" y="30" width="12" height="12" fill="{COLOURS[tool]}"/>' + text(left + at * 90 + 17, 41, tool)
    for name, row in rows.items():
        body += text(left - 8, y + bar * len(row) / 2 + 4, name, "end")
        for cell in sorted(row, key=lambda cell: list(COLOURS).index(cell["tool"])):
            end = scale(cell["seconds"])
            length = max(end - scale(10**first), 1)
            body += f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 2}" fill="{COLOURS[cell["tool"]]}"/>'
            body += text(left + length + 4, y + bar - 4, shown(cell["seconds"]))
            y += bar
        y += gap
    for power in range(first, last + 1):
        x = scale(10**power)
        body += f'<line x1="{x:.1f}" y1="{top - 8}" x2="{x:.1f}" y2="{y}" stroke="#ddd"/>' + text(x, y + 14, f"{10.0**power:g} s", "middle")
    return svg(width, y + 24, body)


def curve(title, unit, points):
    """A curve for each tool on two logarithmic scales, with a line that grows as the numbers do."""
    left, right, top, bottom, width, height = 70, 90, 50, 50, 640, 380
    numbers = [number for line in points.values() for number, _ in line]
    times = [max(seconds, 0.001) for line in points.values() for _, seconds in line]
    (x0, x1), (y0, y1) = decades(numbers), decades(times)
    across = lambda number: left + (math.log10(number) - x0) / (x1 - x0) * (width - left - right)
    down = lambda seconds: height - bottom - (math.log10(max(seconds, 0.001)) - y0) / (y1 - y0) * (height - top - bottom)
    body = text(10, 20, f"{title}: seconds by number of {unit}")
    for power in range(x0, x1 + 1):
        x = across(10**power)
        body += f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{height - bottom}" stroke="#ddd"/>' + text(x, height - bottom + 16, f"{10**power:,}", "middle")
    for power in range(y0, y1 + 1):
        y = down(10**power)
        body += f'<line x1="{left}" y1="{y:.1f}" x2="{width - right}" y2="{y:.1f}" stroke="#ddd"/>' + text(left - 6, y + 4, f"{10.0**power:g} s", "end")
    for tool, line in points.items():
        places = " ".join(f"{across(number):.1f},{down(seconds):.1f}" for number, seconds in line)
        body += f'<polyline points="{places}" fill="none" stroke="{COLOURS[tool]}" stroke-width="2"/>'
        number, seconds = line[-1]
        body += text(across(number) + 6, down(seconds) + 4, tool, colour=COLOURS[tool])
    return svg(width, height, body)


def main(results, rows_file, directory, version, rounds):
    rows = re.findall(r'^\s*row "?([a-z0-9$-]+)"? +([a-z,]+) +"(.*)"$', open(rows_file).read(), re.M)
    what = {name: words for name, _, words in rows}
    all_cells = list(cells(read(results)))
    whole = whole_lines(all_cells, rows, int(rounds))
    machine = {"cores": os.cpu_count(), "kernel": os.uname().release.split("-")[0], "architecture": os.uname().machine}
    today = datetime.date.today().isoformat()
    os.makedirs(directory, exist_ok=True)
    write = lambda name, content: open(os.path.join(directory, name), "w").write(content)
    head = {"date": today, "version": version, "machine": machine, "rounds": int(rounds), "whole_lines": whole}
    write("results.json", json.dumps(head | {"cells": all_cells}, indent=1) + "\n")

    page = ["# Benchmarks", ""]
    page += [
        f"{version}, {today}, on {machine['cores']} cores with Linux {machine['kernel']}. Rounds: {rounds}, in turn with the other programs.",
        "A time is the median, with the fastest and the slowest round after it. `scripts/bench --publish` measures this again.",
        "[results.json](results.json) has every figure. Each round compares the bytes or names that came with the server's disk.",
        "",
    ]
    for line, title in LINES.items():
        here = [cell for cell in all_cells if cell["line"] == line and not cell["row"].startswith("scale-")]
        for server in dict.fromkeys(cell["server"] for cell in here):
            of_server = [cell for cell in here if cell["server"] == server]
            chart = {}
            for cell in of_server:
                if "seconds" in cell:
                    chart.setdefault(cell["row"], []).append(cell)
            heading = f"{title}, {server}"
            page += [f"## {heading}", ""]
            if line not in whole:
                page += ["**A part of a run: not all rows, or not all rounds.**", ""]
            if chart:
                write(f"{line}-{server}.svg", bars(heading, chart))
                page += [f"![{heading}]({line}-{server}.svg)", ""]
            page += ["| row | what | program | seconds | CPU s | peak MiB | wire KB | round trips |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
            for cell in of_server:
                first = f"| {cell['row']} | {what.get(cell['row'], '')} | {cell['tool']} "
                if "failed" in cell:
                    page.append(first + f"| {cell['failed']} | | | | |")
                    continue
                times = f"{cell['seconds']:.3f} ({cell['fastest']:.3f} to {cell['slowest']:.3f})"
                peak = f"{cell['peak_mib']:.0f}" if cell["peak_mib"] else ""
                trips = f"{cell['round_trips']:.0f}" if "round_trips" in cell and cell["round_trips"] else ""
                cpu = f"{cell['cpu_seconds']:.2f}" if cell["cpu_seconds"] > 0 else ""
                page.append(first + f"| {times} | {cpu} | {peak} | {cell['wire_bytes'] / 1000:.0f} | {trips} |")
            page.append("")
    for prefix, (title, unit) in CURVES.items():
        points, table = {}, []
        for cell in all_cells:
            name, _, number = cell["row"].rpartition("-")
            if name == prefix and "seconds" in cell:
                points.setdefault(cell["tool"], []).append((int(number), cell["seconds"]))
                table.append(f"| {int(number):,} | {cell['tool']} | {cell['seconds']:.3f} | {cell['cpu_seconds']:.2f} | {cell['peak_mib']:.0f} |")
        if points:
            write(f"{prefix}.svg", curve(title, unit, {tool: sorted(line) for tool, line in points.items()}))
            page += [f"## Scale: {title}", "", f"![{title}]({prefix}.svg)", "", f"| {unit} | program | seconds | CPU s | peak MiB |", "| --- | --- | --- | --- | --- |", *table, ""]
    write("README.md", "\n".join(page).rstrip() + "\n")


main(*sys.argv[1:])
