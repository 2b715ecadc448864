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
p { margin: .5rem 0; max-width: 75ch; }
.subtitle, figcaption, caption, footer { color: var(--soft); }
a { color: var(--link); }
nav { background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  margin: 1.5rem 0; padding: .3rem 1rem; }
nav ol { columns: 2 18rem; margin: .4rem 0; padding-left: 1.4rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; min-width: 50%; }
caption { text-align: left; padding: .3rem 0; }
th, td { padding: .32rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { background: var(--panel); white-space: nowrap; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--link); }
th button::after { content: " \\2195"; color: var(--soft); font-weight: 400; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
tbody tr:hover { background: var(--panel); }
figure { margin: 1rem 0; }
.chart { width: 100%; }
figcaption { font-size: .9rem; }
footer { margin-top: 3rem; font-size: .85rem; }
@media print {
  :root { --ink: #000; --soft: #444; --page: #fff; --panel: #f3f3f3; --line: #bbb; --link: #000; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 9pt; }
  h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  thead { display: table-header-group; }
  th button::after { content: ""; }
  @page { margin: 16mm; }
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

#: Draw every chart in the page's own ink, again when the reader's system turns dark or the page goes to paper.
CHARTS_SCRIPT: Final = """
(function () {
  var figures = JSON.parse(document.getElementById('_charts').textContent);
  var dark = window.matchMedia('(prefers-color-scheme: dark)');
  var paint = function (paper) {
    var ink = paper ? '#000' : getComputedStyle(document.body).color;
    figures.forEach(function (figure, index) {
      var layout = Object.assign({}, figure.layout);
      layout.font = Object.assign({}, layout.font, { color: ink });
      Plotly.react('_chart-' + index, figure.data, layout, { responsive: true, displaylogo: false });
    });
  };
  paint(false);
  dark.addEventListener('change', function () { paint(false); });
  window.addEventListener('beforeprint', function () { paint(true); });
  window.addEventListener('afterprint', function () { paint(false); });
})();
"""
