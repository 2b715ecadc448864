"""The style sheet and the two small scripts of an HTML report. Constants without any data in them."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { --ink: #1b1f24; --soft: #57606a; --page: #ffffff; --panel: #f6f8fa; --line: #d0d7de; --link: #0550ae; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4af; --page: #0d1117; --panel: #161b22; --line: #30363d; --link: #79c0ff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.08rem; margin: 1.8rem 0 .4rem; }
code { font: .92em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 75ch; }
.subtitle, figcaption, caption, footer { color: var(--soft); }
a { color: var(--link); }
nav { background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  margin: 1.5rem 0; padding: .3rem 1rem; }
nav ol { columns: 2 18rem; margin: .4rem 0; padding-left: 1.4rem; }
nav li { break-inside: avoid; }
nav small { line-height: 1.7; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; min-width: 50%; }
caption { text-align: left; padding: .3rem 0; }
th, td { padding: .32rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { background: var(--panel); white-space: nowrap; }
td.short { white-space: nowrap; }
td:not(.num):not(.short) { min-width: 12rem; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--link); }
th button::after { content: " \\2195"; color: var(--soft); font-weight: 400; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
tbody tr:hover { background: var(--panel); }
figure { margin: 1rem 0; }
.chart { width: 100%; }
figcaption { font-size: .9rem; max-width: 110ch; }
.cite { text-decoration: none; white-space: nowrap; }
ol.sources { padding-left: 2.2rem; font-size: .9rem; }
ol.sources li { margin: .3rem 0; overflow-wrap: anywhere; }
ol.sources li:target, figure:target { outline: 2px solid var(--link); outline-offset: 3px; }
footer { margin-top: 3rem; font-size: .85rem; }
@media print {
  :root { --ink: #000; --soft: #444; --page: #fff; --panel: #f3f3f3; --line: #bbb; --link: #000; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  p, figcaption { max-width: none; }
  a { text-decoration: none; }
  nav { break-after: page; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; min-width: 0; max-width: 100%; }
  th, td { padding: .15rem .4rem; }
  thead th { white-space: normal; }
  td.short, .num { white-space: normal; }
  td:not(.num):not(.short) { min-width: 0; overflow-wrap: anywhere; }
  h1, h2, h3, caption { break-after: avoid; }
  h2 { margin-top: 1.4rem; }
  p, li { orphans: 3; widows: 3; }
  figure, tr, li { break-inside: avoid; }
  thead { display: table-header-group; }
  th button { display: none; } /* a heading that repeats on the next page cannot repeat a button */
  th::after { content: attr(data-name); }
  .modebar { display: none; }
  a[href^="http"]:not(.out)::after { content: " (" attr(href) ")"; }
  @page { size: A4; margin: 16mm 14mm; @bottom-right { content: counter(page); font: 8pt sans-serif; } }
}
"""

#: Sort by a column; numbers by data-value, text by locale; blanks always last.
SORT_SCRIPT: Final = """
document.querySelectorAll('table.sortable').forEach(function (table) {
  var heads = table.tHead.rows[0].cells;
  Array.prototype.forEach.call(heads, function (head, column) {
    head.querySelector('button').addEventListener('click', function () {
      var up = head.getAttribute('aria-sort') !== 'ascending';
      Array.prototype.forEach.call(heads, function (other) { other.removeAttribute('aria-sort'); });
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      var body = table.tBodies[0];
      var key = function (row) {
        var cell = row.cells[column];
        return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
      };
      Array.from(body.rows).sort(function (a, b) {
        var x = key(a), y = key(b);
        if (typeof x !== typeof y) { return typeof x === 'number' ? -1 : 1; }
        var order = typeof x === 'number' ? x - y : x.localeCompare(y);
        return up ? order : -order;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
"""

#: Draw every chart in the page's own ink, one after another so that the page answers meanwhile; again when the
#: reader's system turns dark, and at the width of a sheet and without controls when the page goes to paper.
CHARTS_SCRIPT: Final = """
(function () {
  var figures = JSON.parse(document.getElementById('_charts').textContent);
  var dark = window.matchMedia('(prefers-color-scheme: dark)');
  var sheet = 660, round = 0;
  var draw = function (index, paper) {
    var figure = figures[index], layout = Object.assign({}, figure.layout);
    layout.font = Object.assign({}, layout.font, { color: paper ? '#000' : getComputedStyle(document.body).color });
    if (paper) { layout.width = sheet; layout.autosize = false; }
    Plotly.react('_chart-' + index, figure.data, layout,
      { responsive: !paper, staticPlot: paper, displaylogo: false, modeBarButtonsToRemove: ['lasso2d', 'select2d'] });
  };
  var later = function (index, turn) {
    if (turn !== round || index >= figures.length) { return; }
    draw(index, false);
    setTimeout(function () { later(index + 1, turn); }, 0);
  };
  var screen = function () { round += 1; later(0, round); };
  screen();
  dark.addEventListener('change', screen);
  window.addEventListener('beforeprint', function () {
    round += 1;
    figures.forEach(function (_, index) { draw(index, true); });
  });
  window.addEventListener('afterprint', screen);
})();
"""
