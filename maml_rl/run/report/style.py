"""Style sheet and script of the page. Colours are Okabe and Ito's, lightened on dark ground; parts are a ramp."""

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --panel: #f5f7f9; --text: #1a1f26; --soft: #55606e; --rule: #d3d9e0; --warn: #fff3d6;
  --warn-edge: #b87500;
  --c0: #0072b2; --c1: #d55e00; --c2: #00815c; --c3: #b8518f; --c4: #8a6d00; --c5: #2a93cf; --c6: #4d4d4d;
  --p0: #3b528b; --p1: #21918c; --p2: #8fd744; --p3: #fde725; --p4: #b0b7c0; --p5: #8c2981; --p6: #de4968;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161b; --panel: #1b2128; --text: #e8ecf1; --soft: #a3aebb; --rule: #343d48; --warn: #3a2e10;
    --warn-edge: #e0a030;
    --c0: #5ab4ec; --c1: #ff8a3d; --c2: #2fc796; --c3: #e79cc8; --c4: #f0cf4a; --c5: #a9dcff; --c6: #c4c4c4;
    --p0: #7d93d6; --p1: #2ab5ae; --p2: #a0e05a; --p3: #fdec5a; --p4: #8a94a0; --p5: #c97fc1; --p6: #f0849a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.5rem; border-top: 1px solid var(--rule); padding-top: 1rem; }
h3 { font-size: 1rem; margin: 0 0 0.4rem; }
p { margin: 0.4rem 0; max-width: 60rem; }
.soft, figcaption, .readout { color: var(--soft); font-size: 0.875rem; }
.notice { background: var(--warn); border-left: 4px solid var(--warn-edge); padding: 0.5rem 0.8rem; margin: 0.8rem 0; }
.notice ul { margin: 0.2rem 0; padding-left: 1.2rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 23rem), 1fr)); }
figure { margin: 0; padding: 0.6rem; background: var(--panel); border-radius: 6px; min-width: 0; max-width: 40rem; }
.chart { display: block; width: 100%; height: auto; touch-action: pan-y; }
.chart text { font-size: 13px; fill: var(--text); }
.chart .tick { font-size: 12px; fill: var(--soft); }
.readout { min-height: 1.5em; margin: 0.2rem 0 0; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: 0.3rem 0.6rem; margin: 0.5rem 0; padding: 0; list-style: none; }
.legend button, .legend .part {
  display: flex; align-items: center; gap: 0.4rem; font: inherit; font-size: 0.9rem; color: inherit; text-align: left;
  background: none; border: 1px solid var(--rule); border-radius: 4px; padding: 0.3rem 0.6rem; min-height: 2.2rem;
}
.legend button:enabled { cursor: pointer; }
.legend button[aria-pressed="false"] { opacity: 0.45; text-decoration: line-through; }
.sample { width: 26px; height: 16px; flex: none; }
.off { display: none; }
.c0 { --k: var(--c0); } .c1 { --k: var(--c1); } .c2 { --k: var(--c2); } .c3 { --k: var(--c3); }
.c4 { --k: var(--c4); } .c5 { --k: var(--c5); } .c6 { --k: var(--c6); }
.p0 { fill: var(--p0); } .p1 { fill: var(--p1); } .p2 { fill: var(--p2); } .p3 { fill: var(--p3); }
.p4 { fill: var(--p4); } .p5 { fill: var(--p5); } .p6 { fill: var(--p6); }
.p0, .p1, .p2, .p3, .p4, .p5, .p6 { stroke: var(--panel); stroke-width: 1; }
.mean { fill: none; stroke: var(--k); stroke-width: 2; stroke-linejoin: round; }
.faint { fill: none; stroke: var(--k); stroke-width: 1; opacity: 0.35; }
.band { fill: var(--k); opacity: 0.18; }
.whisker { fill: none; stroke: var(--k); stroke-width: 1.5; opacity: 0.8; }
.mark { fill: var(--k); fill-opacity: 0.75; stroke: var(--panel); stroke-width: 0.7; }
.grid { stroke: var(--rule); stroke-width: 0.7; fill: none; }
.axis { stroke: var(--soft); stroke-width: 1; fill: none; }
.diagonal { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 5 4; }
.cross { stroke: var(--soft); stroke-width: 1; }
.scroll { overflow-x: auto; max-width: 100%; border: 1px solid var(--rule); border-radius: 6px; margin: 0.5rem 0; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td {
  text-align: left; vertical-align: top; padding: 0.35rem 0.7rem; border-bottom: 1px solid var(--rule);
  white-space: nowrap; overflow-wrap: normal;
}
@media (min-width: 700px) {
  .name { --least: 14rem; }
  .chart text { font-size: 11px; }
  .chart .tick { font-size: 10px; }
}
.name {
  position: sticky; left: 0; min-width: var(--least, 8rem); max-width: 18rem;
  white-space: normal; overflow-wrap: break-word;
  background: var(--ground); border-right: 1px solid var(--rule);
}
thead th, thead .name { background: var(--panel); font-weight: 600; }
tr:last-child > * { border-bottom: 0; }
img, video { display: block; max-width: 100%; height: auto; border-radius: 4px; background: var(--panel); }
"""

SCRIPT = """
(() => {
  "use strict";
  const off = new Set();
  const show = () => {
    for (const element of document.querySelectorAll("[data-series]")) {
      const hidden = off.has(element.dataset.series);
      if (element.tagName === "BUTTON") element.setAttribute("aria-pressed", String(!hidden));
      else element.classList.toggle("off", hidden);
    }
  };
  for (const button of document.querySelectorAll("button[data-series]")) {
    button.disabled = false;
    button.title = "hide or show in all charts";
    button.addEventListener("click", () => {
      const series = button.dataset.series;
      if (!off.delete(series)) off.add(series);
      show();
    });
  }
  show();
  const told = (number) => (number === null || number === undefined ? "?" : String(Number(number.toPrecision(4))));
  for (const script of document.querySelectorAll('figure script[type="application/json"]')) {
    const data = JSON.parse(script.textContent);
    const figure = script.closest("figure");
    const chart = figure.querySelector("svg.chart");
    const cross = chart.querySelector(".cross");
    const readout = figure.querySelector(".readout");
    const rest = "Point at the chart for its numbers.";
    const [left, right, top, bottom, width] = data.frame;
    const [low, high] = data.ends;
    readout.textContent = rest;
    const point = (event) => {
      const box = chart.getBoundingClientRect();
      const share = (((event.clientX - box.left) / box.width) * width - left) / (right - left);
      if (share < 0 || share > 1) return leave();
      const place = low + share * (high - low);
      const shown = data.lines.filter((line) => !off.has(String(line.series)) && line.x.length);
      let nearest = null;
      const words = shown.map((line) => {
        let best = 0;
        line.x.forEach((x, index) => {
          if (Math.abs(x - place) < Math.abs(line.x[best] - place)) best = index;
        });
        if (nearest === null || Math.abs(line.x[best] - place) < Math.abs(nearest - place)) nearest = line.x[best];
        if (place < line.x[0] - (high - low) / 40 || place > line.x[line.x.length - 1] + (high - low) / 40) return "";
        const half = line.w && line.w[best] !== null ? " \\u00b1 " + told(line.w[best]) : "";
        return line.name + ": " + told(line.y[best]) + half;
      });
      if (nearest === null) return leave();
      const at = left + ((nearest - low) / (high - low)) * (right - left);
      cross.setAttribute("d", `M${at.toFixed(1)} ${bottom}V${top}`);
      readout.textContent = `${data.across} ${told(nearest)} \\u2014 ` + words.filter(Boolean).join("; ");
    };
    const leave = () => {
      cross.setAttribute("d", "");
      readout.textContent = rest;
    };
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
    chart.addEventListener("pointerleave", leave);
  }
})();
"""
