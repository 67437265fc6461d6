"""How the report looks, and the few lines that draw its figures."""

STYLE = """
:root { color-scheme: light; --ink: #1f2933; --faint: #5f6b76; --rule: #e1e6eb; --accent: #1f5fa8; --tint: #f4f7fa; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 56px 32px 96px; }
header { padding-bottom: 32px; }
h1 { font-size: 32px; line-height: 1.2; font-weight: 650; letter-spacing: -0.01em; margin: 4px 0 20px; }
h2 { font-size: 20px; font-weight: 650; margin: 0 0 4px; }
p { margin: 0 0 6px; max-width: 78ch; }
section { border-top: 1px solid var(--rule); padding: 28px 0 36px; }
section > p { color: var(--faint); margin-bottom: 16px; }
.eyebrow { color: var(--accent); font-size: 14px; font-weight: 600; letter-spacing: 0.02em; }
.verdict { font-size: 19px; line-height: 1.45; }
.note { background: var(--tint); border-left: 3px solid var(--accent); padding: 8px 14px; margin-top: 14px;
  font-size: 14px; overflow-wrap: anywhere; }
header dl { display: flex; flex-wrap: wrap; gap: 12px 36px; margin: 28px 0 0; }
dt { color: var(--faint); font-size: 13px; }
dd { margin: 0; overflow-wrap: anywhere; }
section dl { display: grid; grid-template-columns: max-content 1fr; gap: 8px 24px; margin: 0; align-items: baseline; }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
a { color: var(--accent); font-size: 14px; }
h3 { font-size: 16px; font-weight: 650; margin: 18px 0 4px; }
.said { margin: 8px 0 0; padding: 0; list-style: none; }
.said li { max-width: 96ch; padding: 3px 0; overflow-wrap: anywhere; }
.figure { width: 100%; }
.wide { overflow: auto; max-height: 720px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th { color: var(--faint); font-weight: 500; text-align: right; vertical-align: bottom; padding: 6px 7px;
  line-height: 1.3; position: sticky; top: 0; background: #fff; box-shadow: inset 0 -1px 0 var(--ink); }
th small, td small { display: block; font-size: 12px; font-weight: 400; color: var(--faint); }
td { text-align: right; padding: 5px 7px; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th.words, td.words { text-align: left; }
td.words { white-space: normal; }
td.top { font-weight: 700; }
tr.baseline td { background: var(--tint); }
@media print { .wide { max-height: none; } section { break-inside: avoid; } }
"""

SCRIPT = """
for (const source of document.querySelectorAll("script[data-figure]")) {
  const figure = JSON.parse(source.textContent);
  Plotly.newPlot(source.dataset.figure, figure.data, figure.layout, {
    responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  });
}
"""
